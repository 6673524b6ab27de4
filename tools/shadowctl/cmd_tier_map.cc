// SPDX-License-Identifier: Apache-2.0
// shadowctl tier explain, tier map, heat: what is hot, where it lies, and why.
#include <charconv>

#include "daemon/base/sizes.h"
#include "daemon/rpc/validate.h"
#include "tools/shadowctl/commands.h"
#include "tools/shadowctl/format_tier.h"
#include "tools/shadowctl/heat_map.h"

namespace shadow::ctl::tier_map_cmd {
namespace {

using std::string;
using Stub = v1::PlacementService::Stub;

struct MapOptions {
  string volume, block, offset;
  std::uint32_t ranges = 0;
};

constexpr int kPlainWidth = 80;  // of what is no terminal
constexpr std::uint32_t kRows = 8;

Result<std::uint64_t> ParseBlock(const string& text) {
  std::uint64_t block = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), block);
  if (error == std::errc() && end == text.data() + text.size()) return block;
  return MakeError(Code::kInvalidArgument, rpc::Quote(text) + " is not the number of a block.",
                   "Blocks are counted from 0 on; --offset takes a place in bytes, e.g. 1.5G.");
}

int Explain(Context& context, const MapOptions& o) {
  const auto run = [&]() -> Result<v1::ExplainBlockResponse> {
    SHADOW_TRY(rpc::CheckVolumeName(o.volume));
    v1::ExplainBlockRequest request;
    request.set_volume(o.volume);
    if (!o.offset.empty()) {
      SHADOW_ASSIGN(const std::uint64_t offset, ParseSize(o.offset));
      request.set_offset_bytes(offset);
    } else if (!o.block.empty()) {
      SHADOW_ASSIGN(const std::uint64_t block, ParseBlock(o.block));
      request.set_block(block);
    } else {
      return MakeError(
          Code::kInvalidArgument, "Neither a BLOCK nor --offset is given.",
          "For example: shadowctl tier explain " + o.volume + " 17, or --offset 1.5G.");
    }
    SHADOW_ASSIGN(Client client, context.Connect(Access::kRead));
    return Call(client.placement(), &Stub::ExplainBlock, request);
  };
  const auto response = run();
  if (!response.ok()) return context.Fail(response.error());
  if (context.json()) {
    context.PrintJson(ToJson(response->explanation()));
  } else {
    PrintExplanation(context.out, context.terminal, o.volume, response->explanation());
  }
  return kExitOk;
}

/// Reads a stream of runs to its end. `Map` has what the messages have.
template <typename Map, typename Reader, typename Message>
Result<Map> ReadMap(Reader reader, Message message) {
  Map map;
  while (reader->Read(&message)) {
    map.volume_blocks = message.volume_blocks();
    map.block_bytes = message.block_bytes();
    map.runs.insert(map.runs.end(), message.runs().begin(), message.runs().end());
  }
  const grpc::Status status = reader->Finish();
  if (!status.ok()) return rpc::FromGrpcStatus(status);
  return map;
}

struct TierMap {
  std::uint64_t volume_blocks = 0, block_bytes = 0;
  std::vector<v1::TierRun> runs;
};

template <typename Map>
void PrintMapJson(Context& context, const string& volume, const Map& map) {
  Json runs = Json::array();
  for (const auto& run : map.runs) runs.push_back(ToJson(run));
  context.PrintJson({{"volume", volume},
                     {"volume_blocks", map.volume_blocks},
                     {"block_bytes", map.block_bytes},
                     {"runs", runs}});
}

int ShowMap(Context& context, const MapOptions& o) {
  const auto run = [&]() -> Result<TierMap> {
    SHADOW_TRY(rpc::CheckVolumeName(o.volume));
    v1::GetTierMapRequest request;
    request.set_volume(o.volume);
    SHADOW_ASSIGN(Client client, context.Connect(Access::kRead));
    grpc::ClientContext call;
    call.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
    return ReadMap<TierMap>(client.placement().GetTierMap(&call, request),
                            v1::GetTierMapResponse());
  };
  const auto map = run();
  if (!map.ok()) return context.Fail(map.error());
  if (context.json()) {
    PrintMapJson(context, o.volume, *map);
  } else if (map->runs.empty()) {
    context.out << "No block of " << o.volume << " has a shadow.\n";
  } else {
    PrintTierMap(context.out, context.terminal, map->runs, map->block_bytes);
  }
  return kExitOk;
}

int Heat(Context& context, const MapOptions& o) {
  const int width = context.terminal.is_terminal ? context.terminal.Width() : kPlainWidth;
  const std::uint32_t ranges = o.ranges != 0 ? o.ranges : kRows * RangesInARow(width);
  const auto run = [&]() -> Result<HeatMap> {
    SHADOW_TRY(rpc::CheckVolumeName(o.volume));
    v1::GetHeatMapRequest request;
    request.set_volume(o.volume);
    request.set_ranges(std::min(ranges, rpc::kMaxHeatRanges));
    SHADOW_ASSIGN(Client client, context.Connect(Access::kRead));
    grpc::ClientContext call;
    call.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
    return ReadMap<HeatMap>(client.placement().GetHeatMap(&call, request),
                            v1::GetHeatMapResponse());
  };
  const auto map = run();
  if (!map.ok()) return context.Fail(map.error());
  if (context.json()) {
    PrintMapJson(context, o.volume, *map);
  } else {
    PrintHeatMap(context.out, context.terminal, o.volume, *map,
                 std::min(ranges, rpc::kMaxHeatRanges), width);
  }
  return kExitOk;
}

using Options = std::shared_ptr<MapOptions>;

void AddVolume(CLI::App& command, const Options& o) {
  command.add_option("VOLUME", o->volume, "Name of the volume")->required()->type_name("");
}

}  // namespace
}  // namespace shadow::ctl::tier_map_cmd

namespace shadow::ctl {

void AddTierMapCommands(CLI::App& app, CLI::App& tier, Context& context) {
  using namespace tier_map_cmd;
  const auto on = [&context](CLI::App* command, const Options& o,
                             int (*run)(Context&, const MapOptions&)) {
    command->callback(
        [&context, o, run] { context.command = [&context, o, run] { return run(context, *o); }; });
  };

  auto explained = std::make_shared<MapOptions>();
  CLI::App* explain = tier.add_subcommand("explain", "Say why a block is where it is");
  AddVolume(*explain, explained);
  CLI::Option* block =
      explain->add_option("BLOCK", explained->block, "Number of the block, from 0 on")
          ->type_name("");
  explain
      ->add_option("--offset", explained->offset,
                   "The block at this place of the volume instead, in bytes: 1.5G")
      ->type_name("SIZE")
      ->excludes(block);
  on(explain, explained, Explain);

  auto mapped = std::make_shared<MapOptions>();
  CLI::App* map = tier.add_subcommand("map", "List the blocks that have a shadow");
  AddVolume(*map, mapped);
  on(map, mapped, ShowMap);

  auto heated = std::make_shared<MapOptions>();
  CLI::App* heat =
      app.add_subcommand("heat", "Draw how hot a volume is, from its begin to its end");
  AddVolume(*heat, heated);
  heat->add_option("--ranges", heated->ranges,
                   "In so many equal ranges, 1..4096; default: eight lines of them")
      ->check(CLI::Range(1, 4096))
      ->type_name("NUMBER");
  on(heat, heated, Heat);
}

}  // namespace shadow::ctl
