// SPDX-License-Identifier: Apache-2.0
// The HTML report: one page, inline SVG, no scripts, no fonts or images from elsewhere; light and
// dark by the reader's preference. See report.h.
#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>

#include "tools/pam/report.h"

namespace shadow::pam::tool {
namespace {

std::string Format(const char* format, ...) __attribute__((format(printf, 1, 2)));
std::string Format(const char* format, ...) {
  char buffer[512];
  va_list args;
  va_start(args, format);
  std::vsnprintf(buffer, sizeof(buffer), format, args);
  va_end(args);
  return buffer;
}

std::string Escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '&') {
      out += "&amp;";
    } else if (c == '"') {
      out += "&quot;";
    } else {
      out += c;
    }
  }
  return out;
}

constexpr const char* kColours[] = {"#2563eb", "#d97706", "#059669", "#db2777",
                                    "#7c3aed", "#0891b2", "#65a30d", "#b91c1c"};

/// The same predictor has the same colour in every plot.
int ColourOf(const std::string& name) {
  if (name == "pam") return 0;
  if (name == "network") return 4;
  if (name == "regression") return 2;
  if (name == "ewma") return 3;
  return 1;  // trees
}

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;
  bool dots = false;
};

/// A plot with axes, grid, legend. x and y are data ranges.
class Plot {
 public:
  Plot(std::string title, std::string x_label, std::string y_label, double x0, double x1, double y0,
       double y1)
      : x0_(x0), x1_(x1 > x0 ? x1 : x0 + 1), y0_(y0), y1_(y1 > y0 ? y1 : y0 + 1) {
    svg_ = "<figure><svg viewBox='0 0 460 320' role='img' aria-label='" + Escape(title) + "'>";
    svg_ += "<text class='t' x='52' y='18'>" + Escape(title) + "</text>";
    for (int i = 0; i <= 4; ++i) {
      const double fx = x0_ + (x1_ - x0_) * i / 4;
      const double fy = y0_ + (y1_ - y0_) * i / 4;
      svg_ += Format("<line class='g' x1='%.1f' x2='%.1f' y1='30' y2='260'/>", X(fx), X(fx));
      svg_ += Format("<line class='g' x1='52' x2='440' y1='%.1f' y2='%.1f'/>", Y(fy), Y(fy));
      svg_ += Format("<text x='%.1f' y='274' text-anchor='middle'>%.3g</text>", X(fx), fx);
      svg_ += Format("<text x='47' y='%.1f' text-anchor='end'>%.3g</text>", Y(fy) + 4, fy);
    }
    svg_ += "<text x='246' y='289' text-anchor='middle'>" + Escape(x_label) + "</text>";
    svg_ += "<text transform='translate(12 150) rotate(-90)' text-anchor='middle'>" +
            Escape(y_label) + "</text>";
  }
  void Line(const Series& s, int colour) {
    const char* c = kColours[colour % 8];
    std::string path;
    for (const auto& [x, y] : s.points) {
      path += Format("%s%.1f %.1f", path.empty() ? "M" : "L", X(Clamp(x, x0_, x1_)),
                     Y(Clamp(y, y0_, y1_)));
    }
    if (!path.empty()) {
      svg_ +=
          "<path fill='none' stroke-width='1.6' stroke='" + std::string(c) + "' d='" + path + "'/>";
    }
    if (s.dots) {
      for (const auto& [x, y] : s.points) {
        svg_ +=
            Format("<circle r='3' cx='%.1f' cy='%.1f' fill='%s'/>", X(x), Y(Clamp(y, y0_, y1_)), c);
      }
    }
    const double lx = 52 + legend_ % 4 * 100;
    const double ly = 303 + legend_ / 4 * 13;
    svg_ += Format("<rect x='%.0f' y='%.0f' width='9' height='9' fill='%s'/>", lx, ly - 8, c);
    svg_ += Format("<text x='%.0f' y='%.0f'>", lx + 13, ly) + Escape(s.name) + "</text>";
    ++legend_;
  }
  void Diagonal() {
    svg_ += Format("<line class='d' x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f'/>", X(x0_), Y(y0_),
                   X(x1_), Y(y1_));
  }
  std::string Done() { return svg_ + "</svg></figure>"; }

 private:
  static double Clamp(double v, double a, double b) { return std::clamp(v, a, b); }
  [[nodiscard]] double X(double x) const { return 52 + (x - x0_) / (x1_ - x0_) * 388; }
  [[nodiscard]] double Y(double y) const { return 260 - (y - y0_) / (y1_ - y0_) * 230; }
  double x0_, x1_, y0_, y1_;
  int legend_ = 0;
  std::string svg_;
};

std::string Reliability(const HorizonResult& h) {
  Plot plot("Reliability, " + h.name, "predicted", "observed", 0, 1, 0, 1);
  plot.Diagonal();
  for (const char* name : {"pam", "network", "regression", "ewma"}) {
    const Metrics* m = Seen(h, name);
    if (m == nullptr) continue;
    Series s{name, {}, true};
    for (const ReliabilityBin& b : m->bins) {
      if (b.weight > 0) s.points.emplace_back(b.predicted, b.observed);
    }
    plot.Line(s, ColourOf(name));
  }
  return plot.Done();
}

std::string PrecisionRecall(const HorizonResult& h) {
  Plot plot("Precision and recall, " + h.name, "recall", "precision", 0, 1, 0, 1);
  for (const char* name : {"pam", "trees", "regression", "ewma"}) {
    const Metrics* m = Seen(h, name);
    if (m == nullptr) continue;
    Series s{name, {}, false};
    for (const auto& [recall, precision] : m->pr_curve) s.points.emplace_back(recall, precision);
    plot.Line(s, ColourOf(name));
  }
  return plot.Done();
}

std::string OverTime(const HorizonResult& r) {
  if (r.over_time.empty()) return "";
  // A long trace is drawn by means of up to 200 stretches.
  const std::size_t step = std::max<std::size_t>(1, r.over_time.size() / 200);
  Series pam{"pam", {}, false}, regression{"regression", {}, false}, ewma{"ewma", {}, false};
  double most = 0;
  for (std::size_t i = 0; i < r.over_time.size(); i += step) {
    double sum[3] = {0, 0, 0};
    double n = 0;
    const std::size_t stop = std::min(r.over_time.size(), i + step);
    for (std::size_t k = i; k < stop; ++k) {
      n += r.over_time[k].blocks;
      sum[0] += r.over_time[k].model;
      sum[1] += r.over_time[k].regression;
      sum[2] += r.over_time[k].ewma;
    }
    const double x = r.over_time[i].window;
    pam.points.emplace_back(x, sum[0] / n);
    regression.points.emplace_back(x, sum[1] / n);
    ewma.points.emplace_back(x, sum[2] / n);
    most = std::max({most, sum[0] / n, sum[1] / n, sum[2] / n});
  }
  Plot plot("Log loss over time, 60 s", "window", "nats per block", r.over_time.front().window,
            r.over_time.back().window, 0, std::min(most, 2.0) * 1.05);
  plot.Line(pam, 0);
  plot.Line(regression, 2);
  plot.Line(ewma, 3);
  return plot.Done();
}

std::string WhoRuled(const HorizonResult& r) {
  if (r.over_time.empty()) return "";
  std::string svg =
      "<figure><svg viewBox='0 0 460 90' role='img' aria-label='Who ruled'>"
      "<text class='t' x='52' y='18'>Who ruled, 60 s</text>";
  const double first = r.over_time.front().window;
  const double span = r.over_time.back().window - first + 1;
  std::size_t i = 0;
  while (i < r.over_time.size()) {
    std::size_t k = i;
    while (k < r.over_time.size() && r.over_time[k].ruler == r.over_time[i].ruler) ++k;
    const double a = 52 + (r.over_time[i].window - first) / span * 388;
    const double b = 52 + (r.over_time[k - 1].window + 1 - first) / span * 388;
    const int c = r.over_time[i].ruler == Ruler::kModel        ? 0
                  : r.over_time[i].ruler == Ruler::kRegression ? 2
                  : r.over_time[i].ruler == Ruler::kEwma       ? 3
                                                               : 4;
    svg += Format("<rect x='%.1f' width='%.1f' y='30' height='26' fill='%s'/>", a,
                  std::max(0.5, b - a), kColours[c]);
    i = k;
  }
  const char* names[] = {"mixture", "regression", "ewma", "networks"};
  const int colours[] = {0, 2, 3, 4};
  for (int k = 0; k < kRulers; ++k) {
    svg += Format(
        "<rect x='%d' y='68' width='9' height='9' fill='%s'/><text x='%d' y='76'>%s (%u)</text>",
        52 + k * 98, kColours[colours[k]], 66 + k * 98, names[k],
        r.ruled[static_cast<std::size_t>(k)]);
  }
  return svg + "</svg></figure>";
}

/// Mean heat (or outcome) of blocks by place and time, as a grid of cells.
std::string HeatGrid(const EvalResult& r, const char* title, bool predicted) {
  if (r.rankings.empty()) return "";
  const int columns = static_cast<int>(std::min<std::size_t>(80, r.rankings.size()));
  constexpr int kRows = 40;
  std::vector<std::uint32_t> blocks;
  for (const Ranking& k : r.rankings) blocks.insert(blocks.end(), k.block.begin(), k.block.end());
  std::sort(blocks.begin(), blocks.end());
  blocks.erase(std::unique(blocks.begin(), blocks.end()), blocks.end());
  if (blocks.empty()) return "";
  const auto cells = static_cast<std::size_t>(columns) * kRows;
  const auto wide = static_cast<std::size_t>(columns);
  std::vector<double> sum(cells, 0), count(cells, 0);
  for (std::size_t w = 0; w < r.rankings.size(); ++w) {
    const Ranking& k = r.rankings[w];
    const auto column = w * wide / r.rankings.size();
    for (std::size_t i = 0; i < k.block.size(); ++i) {
      const auto at = static_cast<std::size_t>(
          std::lower_bound(blocks.begin(), blocks.end(), k.block[i]) - blocks.begin());
      const std::size_t cell = at * kRows / blocks.size() * wide + column;
      sum[cell] += predicted ? k.heat[i] : k.hit[i];
      count[cell] += 1;
    }
  }
  std::string svg = "<figure><svg viewBox='0 0 460 300' role='img' aria-label='" + Escape(title) +
                    "'><text class='t' x='52' y='18'>" + Escape(title) + "</text>";
  for (int row = 0; row < kRows; ++row) {
    for (int column = 0; column < columns; ++column) {
      const auto cell = static_cast<std::size_t>(row * columns + column);
      if (count[cell] <= 0) continue;
      const double v = std::sqrt(std::clamp(sum[cell] / count[cell], 0.0, 1.0));
      const double width = 388.0 / columns;
      svg +=
          Format("<rect x='%.2f' y='%.2f' width='%.2f' height='5.9' fill='rgb(%d,%d,%d)'/>",
                 52 + column * width, 30 + row * 5.8, width + 0.05, static_cast<int>(20 + 235 * v),
                 static_cast<int>(24 + 160 * v * v), static_cast<int>(80 - 60 * v));
    }
  }
  return svg +
         "<text x='246' y='280' text-anchor='middle'>time (test part)</text>"
         "<text transform='translate(30 146) rotate(-90)' text-anchor='middle'>"
         "known blocks, by offset</text></svg></figure>";
}

std::string HitRatios(const TraceReport& t, bool instant, bool net) {
  std::vector<std::string> names;
  double top = 0;
  for (const SimResult& s : t.sims) {
    if (s.instant != instant) continue;
    if (std::find(names.begin(), names.end(), s.policy) == names.end()) names.push_back(s.policy);
    top = std::max(top, s.net_ms);
  }
  if (names.empty()) return "";
  std::string title = net ? "Net ms per access, moves charged" : "Hit ratio by tier size";
  title += instant ? " (instant moves)" : " (moves take time)";
  std::string table =
      "<h3>" + title +
      "</h3><table><tr><th>policy</th><th>1 %</th><th>5 %</th><th>10 %</th><th>20 %</th></tr>";
  Plot plot(title, "tier, % of footprint", net ? "ms" : "hit ratio", 0, 20, 0,
            net ? std::min(top, 12.0) : 1);
  int colour = 0;
  for (const std::string& name : names) {
    Series s{name, {}, true};
    table += "<tr><td>" + Escape(name) + "</td>";
    for (const SimResult& r : t.sims) {
      if (r.instant != instant || r.policy != name) continue;
      s.points.emplace_back(100 * r.tier, net ? r.net_ms : r.hit_ratio);
      table +=
          net ? Format("<td>%.3f</td>", r.net_ms) : Format("<td>%.1f %%</td>", 100 * r.hit_ratio);
    }
    table += "</tr>";
    const bool drawn = name == "pam" || name == "ewma_4h" || name == "lru" || name == "arc" ||
                       name == "clairvoyant" || name == "static" || name == "smq" ||
                       name == "belady";
    if (drawn) plot.Line(s, colour++);
  }
  return "<div class='pair'>" + plot.Done() + "<div>" + table + "</table></div></div>";
}

std::string MetricTable(const HorizonResult& h) {
  std::string out = "<table><tr><th>" + h.name +
                    ", seen blocks</th><th>log loss</th><th>Brier</th><th>ECE</th><th>ROC-AUC</th>"
                    "<th>PR-AUC</th><th>at 0.3</th><th>at 0.7</th><th>prec. 1 %</th><th>10 "
                    "%</th><th>recent: log loss</th></tr>";
  for (const PredictorResult& p : h.predictors) {
    const Metrics& m = p.population.at("seen");
    const auto at = [](double x) { return x < 0 ? std::string("&ndash;") : Format("%.3f", x); };
    out += std::string(p.name == "pam" ? "<tr class='own'>" : "<tr>") + "<td>" + Escape(p.name) +
           "</td>" +
           Format("<td>%.5f</td><td>%.5f</td><td>%.4f</td><td>%.4f</td><td>%.4f</td>", m.log_loss,
                  m.brier, m.ece, m.roc_auc, m.pr_auc) +
           "<td>" + at(m.at_03) + "</td><td>" + at(m.at_07) + "</td>" +
           Format("<td>%.3f</td><td>%.3f</td><td>%.5f</td></tr>", m.precision[0], m.precision[2],
                  p.population.at("recent").log_loss);
  }
  return out + "</table>";
}

constexpr const char* kHead = R"(<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Predictive access model: evaluation</title>
<style>
:root{--fg:#1b1f24;--bg:#fff;--soft:#e3e7ec;--card:#f7f8fa}
@media (prefers-color-scheme:dark){:root{--fg:#e6e8eb;--bg:#15181c;--soft:#333a42;--card:#1d2126}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);max-width:1080px;margin:0 auto;padding:1.5rem}
h1{font-size:1.5rem}h2{margin-top:2.5rem;border-bottom:1px solid var(--soft)}h3{font-size:1rem}
figure{margin:0;background:var(--card);border-radius:8px;padding:.4rem}svg{width:100%;height:auto;display:block}
svg text{font:10px system-ui,sans-serif;fill:var(--fg)}svg text.t{font-size:12px;font-weight:600}
svg .g{stroke:var(--soft);stroke-width:1}svg .d{stroke:var(--fg);stroke-dasharray:3 4;opacity:.5}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(340px,1fr));gap:1rem;margin:1rem 0;align-items:start}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;margin:.5rem 0}
th,td{padding:.18rem .55rem;text-align:right;border-bottom:1px solid var(--soft)}th:first-child,td:first-child{text-align:left}
tr.own td{font-weight:600}.ok{color:#059669}.missed{color:#dc2626;font-weight:600}
</style></head><body><h1>Predictive access model: evaluation</h1>
<p>Trained on the past of each trace, tested on its future. Rows of &ldquo;pam&rdquo; are what the on-line model said,
after the champion gate; &ldquo;network&rdquo; is the LSTM alone, &ldquo;second&rdquo; the network without memory (as a ruler, &ldquo;networks&rdquo; is the
mean of both), &ldquo;mixture&rdquo; is the calibrated mixture before the gate.</p>)";

}  // namespace

std::string ToHtml(const std::vector<TraceReport>& reports) {
  std::string out = kHead;
  for (const TraceReport& t : reports) {
    const EvalResult& r = t.seeds.front();
    out += "<h2>" + Escape(t.name) + "</h2>";
    out += Format(
        "<p>%u windows; trained on the first %u in %.1f s, tested up to %u; %u blocks known at the "
        "end; "
        "%d on-line updates, %.1f s in all.</p>",
        r.windows, r.split, r.train_seconds, r.end, r.known, r.updates, r.update_seconds);
    out +=
        "<h3>Gates</h3><table><tr><th>gate</th><th>value</th><th>of other windows</th>"
        "<th>limit</th><th></th></tr>";
    for (const Gate& g : t.gates) {
      if (!g.measured) {
        out +=
            "<tr><td>" + Escape(g.name) + "</td><td></td><td></td><td></td><td>&ndash;</td></tr>";
        continue;
      }
      out += "<tr><td>" + Escape(g.name) + Format("</td><td>%.4f</td>", g.value) +
             (g.range.low < g.range.high
                  ? Format("<td>%.4f &ndash; %.4f</td>", g.range.low, g.range.high)
                  : "<td></td>") +
             Format("<td>%.4f</td>", g.limit) +
             (g.ok ? "<td class='ok'>met</td></tr>" : "<td class='missed'>missed</td></tr>");
    }
    out += "</table>";
    for (const HorizonResult& h : r.horizons) {
      if (h.samples == 0) {
        out += "<p>" + h.name + ": not measurable, the test part is shorter than the horizon.</p>";
        continue;
      }
      out += "<div class='wide'>" + MetricTable(h) + "</div>";
    }
    for (const HorizonResult& h : r.horizons) {
      if (h.samples > 0)
        out += "<div class='pair'>" + Reliability(h) + PrecisionRecall(h) + "</div>";
    }
    const HorizonResult& minute = r.horizons.front();
    out += "<div class='pair'>" + OverTime(minute) + WhoRuled(minute) + "</div>";
    out += "<div class='pair'>" + HeatGrid(r, "Predicted heat, P(60 s)", true) +
           HeatGrid(r, "Actual accesses", false) + "</div>";
    for (const bool instant : {false, true}) {
      out += HitRatios(t, instant, false);
      out += HitRatios(t, instant, true);
    }
  }
  return out + "</body></html>\n";
}

}  // namespace shadow::pam::tool
