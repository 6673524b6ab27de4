// SPDX-License-Identifier: Apache-2.0
// Labels are names of volumes, tiers, classes and states only, so the number of series is that of
// volumes times a constant. States are sets (one series for each state, 0 or 1), never numbers.
#include "daemon/http/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <unistd.h>

#include <array>
#include <ctime>
#include <fstream>
#include <limits>
#include <sstream>

#include "kernel/core/shadow_version.h"

namespace shadow::http {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Label = ClientMetric::Label;
using Labels = std::vector<Label>;

constexpr std::array<const char*, 4> kModes = {"rw", "ro", "fail", "inactive"};
constexpr std::array<const char*, 3> kKernelPhases = {"steady", "migrating", "grace"};
constexpr std::array<const char*, 3> kTierHealth = {"ok", "missing", "failed"};
constexpr std::array<const char*, kTiers> kTierNames = {"tier1", "tier2"};
constexpr std::array<const char*, 3> kSeverities = {"info", "warning", "error"};
constexpr std::array<const char*, 4> kLevels = {"ok", "busy", "warning", "error"};
constexpr std::size_t kBucketStep = 6;  // of the kernel's buckets, six of which are a doubling

class Exposition {
 public:
  void Gauge(const char* name, const char* help, Labels labels, double value) {
    ClientMetric m;
    m.label = std::move(labels);
    m.gauge.value = value;
    Family(name, help, MetricType::Gauge).metric.push_back(std::move(m));
  }
  void Counter(const char* name, const char* help, Labels labels, double value) {
    ClientMetric m;
    m.label = std::move(labels);
    m.counter.value = value;
    Family(name, help, MetricType::Counter).metric.push_back(std::move(m));
  }
  // One series for each state.
  template <typename States>
  void Set(const char* name, const char* help, const Labels& labels, const char* key,
           const States& states, const std::string& now) {
    for (const char* state : states) {
      Labels with = labels;
      with.push_back({key, state});
      Gauge(name, help, std::move(with), now == state ? 1 : 0);
    }
  }
  void Histogram(const char* name, const char* help, Labels labels, const AppTotals& totals) {
    const auto& bounds = BucketBoundsNs();
    ClientMetric m;
    m.label = std::move(labels);
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < totals.counts.size(); ++i) {
      sum += totals.counts[i];
      if (i < bounds.size() && i % kBucketStep == 0) {
        m.histogram.bucket.push_back({sum, static_cast<double>(bounds[i]) / 1e9});
      }
    }
    m.histogram.bucket.push_back({sum, std::numeric_limits<double>::infinity()});
    m.histogram.sample_count = sum;
    m.histogram.sample_sum = static_cast<double>(totals.read_ns + totals.write_ns) / 1e9;
    Family(name, help, MetricType::Histogram).metric.push_back(std::move(m));
  }
  [[nodiscard]] std::string Text() const {
    return prometheus::TextSerializer().Serialize(families_);
  }

 private:
  MetricFamily& Family(const char* name, const char* help, MetricType type) {
    for (MetricFamily& f : families_) {
      if (f.name == name) return f;
    }
    families_.push_back({name, help, type, {}});
    return families_.back();
  }
  std::vector<MetricFamily> families_;
};

double D(std::uint64_t n) { return static_cast<double>(n); }

void Process(Exposition* out) {
  timespec cpu{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
  out->Counter("process_cpu_seconds_total", "Processor time of shadowd.", {},
               static_cast<double>(cpu.tv_sec) + static_cast<double>(cpu.tv_nsec) / 1e9);
  std::ifstream statm("/proc/self/statm");
  std::uint64_t size = 0;
  std::uint64_t resident = 0;
  statm >> size >> resident;
  out->Gauge("process_resident_memory_bytes", "Memory of shadowd.", {},
             D(resident) * static_cast<double>(::sysconf(_SC_PAGESIZE)));
}

void Kernel(const VolumeInfo& v, Exposition* out) {
  const KernelStatus& k = v.kernel;
  const Labels labels = {{"volume", v.name}};
  out->Set("shadow_volume_mode", "What I/O the volume serves.", labels, "mode", kModes,
           k.mode.empty() ? "inactive" : k.mode);
  out->Gauge("shadow_volume_size_bytes", "Size of the volume.", labels, D(v.size_bytes));
  if (k.mode.empty()) return;
  out->Set("shadow_volume_phase", "Where the volume stands between origin and target.", labels,
           "phase", kKernelPhases, k.phase);
  out->Gauge("shadow_volume_needs_check", "1: run shadow_check on its metadata.", labels,
             k.needs_check ? 1 : 0);
  const std::array<std::pair<const char*, std::uint64_t>, kBlockStates> states = {
      {{"origin", k.origin},
       {"copying", k.copying},
       {"mirrored", k.mirrored},
       {"retiring", k.retiring},
       {"target", k.target},
       {"remirroring", k.remirroring},
       {"hole", k.hole},
       {"filling", k.filling}}};
  for (const auto& [state, blocks] : states) {
    out->Gauge("shadow_volume_state_bytes", "Bytes of the volume by the state of their block.",
               {{"volume", v.name}, {"state", state}}, D(blocks) * D(k.block_bytes));
  }
  const auto bytes = [&](std::uint64_t blocks) { return D(blocks) * D(k.block_bytes); };
  out->Counter("shadow_volume_copied_bytes_total", "Copied between origin and target.", labels,
               bytes(k.copied));
  out->Counter("shadow_volume_recopied_bytes_total",
               "Copied again, because they were written while being copied.", labels,
               bytes(k.recopied));
  out->Counter("shadow_volume_mirrored_writes_total", "Writes that went to both legs.", labels,
               D(k.mirrored_writes));
  out->Counter("shadow_volume_failovers_total",
               "Reads that failed on one leg and were answered by another copy.", labels,
               D(k.failovers));
  out->Counter("shadow_volume_stale_copies_total", "Copies dropped after a failed write.", labels,
               D(k.stale));
  out->Counter("shadow_volume_copy_errors_total", "Copies that failed.", labels, D(k.copy_errors));
  out->Gauge("shadow_volume_copy_limit_bytes_per_second", "Limit of the mover; 0: none.", labels,
             D(k.copy_limit));
}

void Tiers(const VolumeView& v, Exposition* out) {
  const KernelStatus& k = v.info.kernel;
  bool any = false;
  for (std::size_t i = 0; i < kTierNames.size(); ++i) {
    const auto& tier = k.tiers.at(i);
    if (!tier) continue;
    any = true;
    const Labels labels = {{"volume", v.info.name}, {"tier", kTierNames.at(i)}};
    out->Set("shadow_tier_health", "How the kernel finds the device of the tier.", labels, "health",
             kTierHealth, tier->health);
    out->Gauge("shadow_tier_size_bytes", "Room for shadows.", labels,
               D(tier->slots) * D(k.block_bytes));
    out->Gauge("shadow_tier_used_bytes", "Shadows on the tier.", labels,
               D(tier->used) * D(k.block_bytes));
    out->Gauge("shadow_tier_dirty_bytes", "Shadows that are not home yet.", labels,
               D(tier->dirty) * D(k.block_bytes));
    out->Counter("shadow_tier_reads_total", "Reads that shadows answered.", labels,
                 D(k.tier_reads.at(i)));
    out->Counter("shadow_tier_writes_total", "Writes that went to shadows.", labels,
                 D(k.tier_writes.at(i)));
  }
  if (!any) return;
  const Labels labels = {{"volume", v.info.name}};
  const auto bytes = [&](std::uint64_t blocks) { return D(blocks) * D(k.block_bytes); };
  const PlacementInfo& p = v.tiers.placement;
  out->Counter("shadow_tier_promoted_bytes_total", "Copied to tiers.", labels,
               bytes(k.promoted + k.fetched));
  out->Counter("shadow_tier_demoted_bytes_total", "Shadows given up.", labels, bytes(k.demoted));
  out->Counter("shadow_tier_written_back_bytes_total", "Dirty shadows copied home.", labels,
               bytes(k.written_back));
  out->Counter("shadow_tier_failures_total", "Failed reads, writes, copies and flushes of tiers.",
               labels, D(k.tier_failures));
  out->Counter("shadow_placement_windows_total", "Windows of accesses looked at.", labels,
               D(p.windows));
  out->Counter("shadow_placement_lost_accesses_total", "Accesses that were not seen.", labels,
               D(p.lost));
  out->Gauge("shadow_placement_round_seconds", "Time of the last round of placement.", labels,
             static_cast<double>(p.round_us) / 1e6);
  out->Gauge("shadow_placement_queued_blocks", "Moves that wait in the kernel.", labels,
             D(p.queued_blocks));
}

void Io(const VolumeView& v, Exposition* out) {
  if (v.io.at_us == 0) return;
  const AppTotals& t = v.io.totals;
  const auto with = [&](const char* direction) {
    return Labels{{"volume", v.info.name}, {"direction", direction}};
  };
  out->Counter("shadow_volume_ios_total", "I/Os of the application.", with("read"), D(t.reads));
  out->Counter("shadow_volume_ios_total", "", with("write"), D(t.writes));
  out->Counter("shadow_volume_io_bytes_total", "Bytes the application read and wrote.",
               with("read"), D(t.read_bytes));
  out->Counter("shadow_volume_io_bytes_total", "", with("write"), D(t.written_bytes));
  out->Histogram("shadow_volume_io_duration_seconds",
                 "Latency of the application's I/O, that of copies not among it.",
                 {{"volume", v.info.name}}, t);
}

std::array<const char*, 13> PhaseNames() {
  std::array<const char*, 13> names{};
  for (std::size_t i = 0; i < names.size(); ++i) names.at(i) = PhaseName(static_cast<Phase>(i));
  return names;
}

// The modification that runs on the volume, or else its newest.
const ModificationInfo* ModificationOf(const Picture& picture, const std::string& volume) {
  for (const ModificationInfo& m : picture.modifications) {
    if (m.volume == volume) return &m;
  }
  return nullptr;
}

void Modification(const ModificationInfo& m, Exposition* out) {
  const Labels labels = {{"volume", m.volume}};
  out->Set("shadow_modification_phase",
           "Where the modification stands that runs on the volume, or ran last.", labels, "phase",
           PhaseNames(), PhaseName(m.phase));
  if (IsFinal(m.phase)) return;
  out->Gauge("shadow_modification_total_bytes", "To be copied.", labels, D(m.bytes_total));
  out->Gauge("shadow_modification_done_bytes", "Current on the destination.", labels,
             D(m.bytes_done));
  out->Gauge("shadow_modification_rate_bytes_per_second", "Copy rate now.", labels, D(m.rate));
  if (m.eta_ms >= 0) {
    out->Gauge("shadow_modification_eta_seconds", "Time until the copy is done.", labels,
               static_cast<double>(m.eta_ms) / 1000);
  }
  out->Gauge("shadow_modification_limited_by_latency",
             "1: the application's latency keeps the copy rate down.", labels,
             m.limited_by_latency ? 1 : 0);
  out->Gauge("shadow_modification_app_p99_seconds",
             "99th percentile of the application's latency in the last window; 0: no I/O.", labels,
             D(m.app_p99_us) / 1e6);
  out->Gauge("shadow_modification_app_p99_before_seconds", "The same before the copy began.",
             labels, D(m.app_baseline_p99_us) / 1e6);
  out->Gauge("shadow_modification_pause_seconds", "Longest pause of I/O so far.", labels,
             D(m.cutover_pause_us) / 1e6);
  out->Gauge("shadow_modification_has_error", "1: something went wrong, and it waits or goes back.",
             labels, m.error.empty() ? 0 : 1);
}

}  // namespace

std::string MetricsText(const Picture& picture, std::int64_t age_us) {
  Exposition out;
  out.Gauge("shadow_build_info", "Version of shadowd.", {{"version", SHADOW_VERSION}}, 1);
  out.Gauge("shadow_snapshot_age_seconds",
            "How old the rest of this answer is; grows while a device or the store hangs.", {},
            static_cast<double>(age_us) / 1e6);
  out.Gauge("shadow_snapshot_duration_seconds", "Time it took to look.", {},
            static_cast<double>(picture.took_us) / 1e6);
  out.Set("shadow_health", "The worst of the host and its volumes.", {}, "level", kLevels,
          HealthName(picture.health.level));
  out.Gauge("shadow_volumes", "Number of volumes.", {}, D(picture.volumes.size()));
  for (const VolumeView& v : picture.volumes) {
    Kernel(v.info, &out);
    Io(v, &out);
    Tiers(v, &out);
    if (const ModificationInfo* m = ModificationOf(picture, v.info.name)) Modification(*m, &out);
  }
  for (const VolumeHealth& v : picture.health.volumes) {
    out.Set("shadow_volume_health", "Health of the volume.", {{"volume", v.volume}}, "level",
            kLevels, HealthName(v.level));
  }
  for (const ClassInfo& c : picture.classes) {
    out.Gauge("shadow_class_size_bytes", "Size of the storage class.", {{"class", c.name}},
              D(c.size_bytes));
    out.Gauge("shadow_class_free_bytes", "Free space of the storage class.", {{"class", c.name}},
              D(c.free_bytes));
  }
  for (const char* severity : kSeverities) {
    const auto it = picture.events_by_severity.find(severity);
    out.Counter("shadow_events_total", "Events since shadowd started.", {{"severity", severity}},
                it == picture.events_by_severity.end() ? 0 : D(it->second));
  }
  Process(&out);
  return out.Text();
}

}  // namespace shadow::http
