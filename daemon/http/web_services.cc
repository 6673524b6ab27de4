// SPDX-License-Identifier: Apache-2.0
#include "daemon/http/web_services.h"

#include <spdlog/spdlog.h>

#include <atomic>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>

#include "daemon/http/assets.h"
#include "daemon/http/http_server.h"
#include "daemon/http/metrics.h"
#include "daemon/http/sampler.h"
#include "daemon/http/state_json.h"
#include "daemon/http/tokens.h"

namespace shadow {
namespace http {
namespace {

using httplib::Request;
using httplib::Response;

constexpr int kMostStreams = 64;
constexpr std::int64_t kScrapeWaitMs = 1'000;
constexpr std::int64_t kPingMs = 10'000;
constexpr std::int64_t kStreamPollMs = 500;
constexpr std::uint32_t kDefaultCells = 1024;
// A map is asked for again when it is two seconds old, or twenty times as old as it took.
constexpr std::int64_t kMapUs = 2'000'000;
constexpr std::int64_t kMapShare = 20;
constexpr std::size_t kMaps = 64;

constexpr const char* kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

int HttpStatusOf(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
      return 400;
    case Code::kNotFound:
      return 404;
    case Code::kPermissionDenied:
      return 403;
    case Code::kAlreadyExists:
    case Code::kFailedPrecondition:
    case Code::kAborted:
      return 409;
    case Code::kUnavailable:
    case Code::kOutOfSpace:
      return 503;
    case Code::kUnimplemented:
      return 501;
    default:
      return 500;
  }
}

void SendError(const Error& error, Response* response) {
  response->status = HttpStatusOf(error.code);
  response->set_content(ErrorJson(error), "application/json");
}

void Harden(Response* response) {
  response->set_header("Content-Security-Policy", kPolicy);
  response->set_header("X-Content-Type-Options", "nosniff");
  response->set_header("Referrer-Policy", "no-referrer");
  response->set_header("Cross-Origin-Resource-Policy", "same-origin");
  if (!response->has_header("Cache-Control")) response->set_header("Cache-Control", "no-store");
}

std::optional<std::uint64_t> Number(const Request& request, const char* name) {
  const std::string text = request.get_param_value(name);
  std::uint64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return n;
}

// One map for all who look at the same part; asked of the kernel by one of them at a time.
class Maps {
 public:
  Maps(Engine& engine, const Clock& clock) : engine_(engine), clock_(clock) {}

  Result<std::string> Get(const std::string& volume, BlockRange range, std::uint32_t cells) {
    const std::string key = volume + " " + std::to_string(range.first) + " " +
                            std::to_string(range.count) + " " + std::to_string(cells);
    const std::lock_guard<std::mutex> lock(mutex_);
    const std::int64_t now = clock_.MonotonicUs();
    std::erase_if(maps_, [&](const auto& m) { return m.second.until_us <= now; });
    const auto it = maps_.find(key);
    if (it != maps_.end()) return it->second.json;
    SHADOW_ASSIGN(const VolumeInfo info, engine_.GetVolume(volume));
    if (range.count == 0) range = {0, info.kernel.blocks};
    SHADOW_ASSIGN(const std::vector<MapCell> map, engine_.GetBlockMap(volume, range, cells));
    const std::int64_t after = clock_.MonotonicUs();
    Kept kept{MapJson(map, info.kernel.blocks, info.block_bytes),
              after + std::max(kMapUs, (after - now) * kMapShare)};
    if (maps_.size() >= kMaps) maps_.clear();
    return (maps_[key] = std::move(kept)).json;
  }

 private:
  struct Kept {
    std::string json;
    std::int64_t until_us = 0;
  };
  Engine& engine_;
  const Clock& clock_;
  std::mutex mutex_;
  std::map<std::string, Kept> maps_;
};

class Web final : public WebServices {
 public:
  Web(Engine& engine, const Clock& clock, const HttpListen& listen)
      : engine_(engine),
        clock_(clock),
        listen_(listen),
        tokens_(listen.token_file),
        maps_(engine, clock),
        sampler_(engine, clock) {}
  ~Web() override { Shutdown(); }

  void Start(std::vector<Error>* problems) {
    if (const Status good = tokens_.Check(); !good.ok()) problems->push_back(good.error());
    Open(listen_.page, &page_, problems, [this](httplib::Server& s) { Page(s); });
    Open(listen_.socket, &socket_, problems, [this](httplib::Server& s) { Page(s); });
    Open(listen_.metrics, &metrics_, problems, [this](httplib::Server& s) { Metrics(s); });
  }

  void Shutdown() override {
    stopping_ = true;
    // Whoever waits for the next picture is let go before its server waits for it.
    sampler_.Stop();
    for (auto* server : {&page_, &socket_, &metrics_}) {
      if (*server) (*server)->Stop();
    }
  }
  [[nodiscard]] int PagePort() const override { return page_ ? page_->port() : 0; }
  [[nodiscard]] int MetricsPort() const override { return metrics_ ? metrics_->port() : 0; }

 private:
  void Open(const std::string& address, std::unique_ptr<HttpServer>* server,
            std::vector<Error>* problems, const HttpServer::Routes& routes) {
    if (address.empty()) return;
    auto started = HttpServer::Start(address, listen_.hosts, routes);
    if (started.ok()) {
      *server = std::move(*started);
    } else {
      problems->push_back(started.error());
    }
  }

  void Metrics(httplib::Server& s) {
    s.Get("/metrics", [this](const Request&, Response& response) {
      const PicturePtr picture = sampler_.Latest(kScrapeWaitMs);
      if (!picture) {
        response.status = 503;
        return;
      }
      response.set_content(MetricsText(*picture, clock_.MonotonicUs() - picture->at_us),
                           "text/plain; version=0.0.4; charset=utf-8");
    });
  }

  void Page(httplib::Server& s) {
    s.set_post_routing_handler([](const Request&, Response& r) { Harden(&r); });
    for (std::size_t i = 0; i < kAssetCount; ++i) AddAsset(s, kAssets[i]);
    s.Get("/api/state", [this](const Request&, Response& response) {
      const PicturePtr picture = sampler_.Latest(kScrapeWaitMs);
      if (!picture) {
        SendError(MakeError(Code::kUnavailable, "The first look is under way."), &response);
        return;
      }
      response.set_content(StateOf(picture), "application/json");
    });
    s.Get("/api/stream", [this](const Request&, Response& response) { Stream(&response); });
    s.Get("/api/course", [this](const Request& request, Response& response) {
      const PicturePtr picture = sampler_.Latest(kScrapeWaitMs);
      const std::string id = request.get_param_value("id");
      static const Course kNone;
      const auto it = picture ? picture->courses.find(id) : decltype(picture->courses.find(id)){};
      const bool known = picture && it != picture->courses.end();
      response.set_content(CourseJson(known ? *it->second : kNone), "application/json");
    });
    s.Get("/api/map", [this](const Request& request, Response& response) {
      BlockRange range{Number(request, "first").value_or(0), Number(request, "count").value_or(0)};
      const auto cells = Number(request, "cells").value_or(kDefaultCells);
      const auto map = maps_.Get(request.get_param_value("volume"), range,
                                 static_cast<std::uint32_t>(std::min<std::uint64_t>(cells, 65536)));
      if (!map.ok()) return SendError(map.error(), &response);
      response.set_content(*map, "application/json");
    });
    s.Get("/api/whoami", [this](const Request& request, Response& response) {
      const auto name = tokens_.NameOf(request.get_header_value("Authorization"));
      if (!name.ok()) return SendError(name.error(), &response);
      response.set_content(nlohmann::json({{"name", *name}}).dump(), "application/json");
    });
    s.Post("/api/do", [this](const Request& request, Response& response) {
      if (const Status done = Do(request); !done.ok()) return SendError(done.error(), &response);
      response.set_content("{}", "application/json");
      sampler_.Hurry();
    });
  }

  static void AddAsset(httplib::Server& s, const Asset& asset) {
    s.Get(asset.path, [&asset](const Request& request, Response& response) {
      response.set_header("ETag", asset.etag);
      response.set_header("Cache-Control", "no-cache");
      response.set_header("Vary", "Accept-Encoding");
      if (request.get_header_value("If-None-Match") == asset.etag) {
        response.status = 304;
        return;
      }
      // Every browser takes gzip. What does not is told.
      if (request.get_header_value("Accept-Encoding").find("gzip") == std::string::npos) {
        response.status = 406;
        response.set_content("This page is only sent compressed (Accept-Encoding: gzip).\n",
                             "text/plain");
        return;
      }
      response.set_header("Content-Encoding", "gzip");
      // As a provider, or cpp-httplib would compress it once more.
      response.set_content_provider(
          asset.size, asset.type,
          [&asset](std::size_t offset, std::size_t length, httplib::DataSink& sink) {
            sink.write(reinterpret_cast<const char*>(asset.gzip) + offset, length);
            return true;
          });
    });
  }

  // Made once for each picture, whoever asks.
  std::string StateOf(const PicturePtr& picture) {
    const std::lock_guard<std::mutex> lock(state_mutex_);
    if (state_of_ != picture) {
      state_ = StateJson(*picture);
      state_of_ = picture;
    }
    return state_;
  }

  struct Stream_ {
    std::uint64_t seen = 0;
    std::int64_t sent_us = 0;
  };

  void Stream(Response* response) {
    if (++streams_ > kMostStreams) {
      --streams_;
      response->set_header("Retry-After", "5");
      return SendError(MakeError(Code::kUnavailable,
                                 "Too many pages are open (" + std::to_string(kMostStreams) + ").",
                                 "close some"),
                       response);
    }
    auto at = std::make_shared<Stream_>();
    response->set_header("X-Accel-Buffering", "no");
    response->set_chunked_content_provider(
        "text/event-stream",
        [this, at](std::size_t, httplib::DataSink& sink) {
          const PicturePtr picture = sampler_.After(at->seen, kStreamPollMs);
          if (stopping_ || !sink.is_writable()) return false;
          std::string text;
          if (picture && picture->number > at->seen) {
            at->seen = picture->number;
            text = "data: " + StateOf(picture) + "\n\n";
          } else if (clock_.MonotonicUs() - at->sent_us > kPingMs * 1000) {
            text = ": still here\n\n";
          }
          if (!text.empty()) {
            at->sent_us = clock_.MonotonicUs();
            if (!sink.write(text.data(), text.size())) return false;
          }
          return true;
        },
        [this](bool) { --streams_; });
  }

  // A change. The token is in a header that no other site's page can make a browser send.
  Status Do(const Request& request) {
    SHADOW_ASSIGN(const std::string name,
                  tokens_.NameOf(request.get_header_value("Authorization")));
    const auto body = nlohmann::json::parse(request.body, nullptr, false);
    if (!body.is_object() || !body.contains("id") || !body["id"].is_string() ||
        !body.contains("verb") || !body["verb"].is_string()) {
      return MakeError(Code::kInvalidArgument, "The request is not understood.",
                       "reload the page: the daemon may have been updated");
    }
    const std::string id = body["id"];
    const std::string verb = body["verb"];
    const std::string from = request.remote_addr.empty() ? "the Unix socket" : request.remote_addr;
    spdlog::info("{} of modification {} asked for by {} (token) from {}", verb, id, name, from);
    const Status done = Act(verb, id, body);
    if (!done.ok()) spdlog::info("{} of {}: {}", verb, id, done.error().ToString());
    return done;
  }

  Status Act(const std::string& verb, const std::string& id, const nlohmann::json& body) {
    if (verb == "rate") {
      const bool good = body.contains("rate") && body["rate"].is_number_unsigned() &&
                        body.contains("impact") && body["impact"].is_string();
      const std::string word = good ? body["impact"].get<std::string>() : "";
      static const std::map<std::string, Impact> kImpacts = {
          {"low", Impact::kLow}, {"balanced", Impact::kBalanced}, {"full", Impact::kFull}};
      const auto impact = kImpacts.find(word);
      if (!good || impact == kImpacts.end()) {
        return MakeError(Code::kInvalidArgument, "A rate needs a number and an impact.");
      }
      SHADOW_TRY(engine_.SetRate(id, body["rate"].get<std::uint64_t>(), impact->second));
      return Ok();
    }
    using Verb = Result<ModificationInfo> (Engine::*)(const std::string&);
    static const std::map<std::string, Verb> kVerbs = {{"pause", &Engine::Pause},
                                                       {"resume", &Engine::Resume},
                                                       {"abort", &Engine::Abort},
                                                       {"rollback", &Engine::RollBack},
                                                       {"commit", &Engine::Commit}};
    const auto it = kVerbs.find(verb);
    if (it == kVerbs.end()) {
      return MakeError(Code::kInvalidArgument, "There is nothing called '" + verb + "'.");
    }
    SHADOW_TRY((engine_.*it->second)(id));
    return Ok();
  }

  Engine& engine_;
  const Clock& clock_;
  const HttpListen listen_;
  const Tokens tokens_;
  Maps maps_;
  Sampler sampler_;
  std::atomic<bool> stopping_ = false;
  std::atomic<int> streams_ = 0;
  std::mutex state_mutex_;
  PicturePtr state_of_;
  std::string state_;
  std::unique_ptr<HttpServer> page_, socket_, metrics_;
};

}  // namespace
}  // namespace http

std::unique_ptr<WebServices> StartWebServices(Engine& engine, const Clock& clock,
                                              const HttpListen& listen,
                                              std::vector<Error>* problems) {
  auto web = std::make_unique<http::Web>(engine, clock, listen);
  web->Start(problems);
  return web;
}

std::vector<Error> CheckHttpListen(const HttpListen& listen) {
  std::vector<Error> problems;
  for (const std::string& address : {listen.page, listen.metrics}) {
    if (address.empty() || address[0] == '/') continue;
    if (const auto at = http::SplitAddress(address); !at.ok()) problems.push_back(at.error());
  }
  if (const Status good = http::Tokens(listen.token_file).Check(); !good.ok()) {
    problems.push_back(good.error());
  }
  return problems;
}

}  // namespace shadow
