// SPDX-License-Identifier: Apache-2.0
// What the dashboard and the metrics read from the kernel: counters of I/O, and where blocks are.
// Reading them changes nothing for anybody else.
#include <algorithm>

#include "daemon/engine/engine_impl.h"
#include "daemon/modify/tables.h"

namespace shadow {
namespace {

constexpr std::uint32_t kMostCells = 4096;
// Messages for a map, shared by its cells; a cell gets one at least.
constexpr std::uint64_t kMapMessages = 512;

// Fills the cells from runs of states that come in ascending order.
class CellFiller {
 public:
  CellFiller(BlockRange range, std::uint32_t cells) {
    const std::uint64_t n = std::min<std::uint64_t>(cells, range.count);
    for (std::uint64_t i = 0; i < n; ++i) {
      // i * count fits: at most 4096 * 2^44.
      const std::uint64_t from = i * range.count / n;
      cells_.push_back({{range.first + from, (i + 1) * range.count / n - from}, {}});
    }
  }
  [[nodiscard]] bool Done() const { return at_ == cells_.size(); }
  /// Number of the cell that is being filled, and the block that comes next.
  [[nodiscard]] std::size_t at() const { return at_; }
  [[nodiscard]] std::uint64_t next() const { return cells_[at_].range.first + seen_; }
  [[nodiscard]] std::uint64_t end() const {
    return cells_.back().range.first + cells_.back().range.count;
  }

  void Add(std::uint64_t count, BlockState state) {
    while (count > 0 && !Done()) {
      MapCell& cell = cells_[at_];
      const std::uint64_t here = std::min(count, cell.range.count - seen_);
      cell.blocks.at(static_cast<std::size_t>(state)) += here;
      seen_ += here;
      count -= here;
      if (seen_ == cell.range.count) NextCell();
    }
  }

  /// What was seen of this cell stands for all of it.
  void Extrapolate() {
    MapCell& cell = cells_[at_];
    std::uint64_t sum = 0;
    for (std::uint64_t& n : cell.blocks) {
      n = static_cast<std::uint64_t>(static_cast<unsigned __int128>(n) * cell.range.count / seen_);
      sum += n;
    }
    *std::max_element(cell.blocks.begin(), cell.blocks.end()) += cell.range.count - sum;
    NextCell();
  }

  std::vector<MapCell> Take() { return std::move(cells_); }

 private:
  void NextCell() {
    ++at_;
    seen_ = 0;
  }

  std::vector<MapCell> cells_;
  std::size_t at_ = 0;
  std::uint64_t seen_ = 0;  // blocks of that cell
};

}  // namespace

Result<AppTotals> EngineImpl::ReadCounters(const std::string& volume) {
  SHADOW_ASSIGN(const VolumeRecord record, FindVolume(volume));
  std::shared_ptr<Counted> counted;
  {
    const std::lock_guard<std::mutex> lock(counted_mutex_);
    auto& slot = counted_[volume];
    if (!slot) slot = std::make_shared<Counted>();
    counted = slot;
  }
  const std::lock_guard<std::mutex> lock(counted->mutex);
  if (!counted->counters || counted->uuid != record.uuid) {
    counted->counters.emplace(*deps_.dm, volume);
    counted->uuid = record.uuid;
  }
  // The length of the table, not of the record: the region covers what is served now.
  SHADOW_ASSIGN(const DmTarget target, deps_.dm->StatusOf(volume));
  return counted->counters->Read(target.sectors);
}

Result<std::vector<MapCell>> EngineImpl::GetBlockMap(const std::string& volume, BlockRange range,
                                                     std::uint32_t cells) {
  SHADOW_TRY(FindVolume(volume));
  SHADOW_ASSIGN(const TargetStatus status, ReadStatus(*deps_.dm, volume));
  const std::uint64_t blocks = status.kernel.blocks;
  if (cells == 0 || cells > kMostCells) {
    return MakeError(Code::kInvalidArgument, "A block map has 1 to 4096 parts.", "ask for fewer");
  }
  if (range.count == 0 || range.first >= blocks || range.count > blocks - range.first) {
    return MakeError(Code::kInvalidArgument,
                     "The volume " + volume + " has " + std::to_string(blocks) +
                         " blocks; the range reaches beyond them or is empty.",
                     "ask for a range within them");
  }
  CellFiller filler(range, cells);
  const std::uint64_t share =
      std::max<std::uint64_t>(1, kMapMessages / std::min<std::uint64_t>(cells, range.count));
  std::uint64_t asked = 0;  // for this cell
  while (!filler.Done()) {
    const std::uint64_t from = filler.next();
    const std::size_t cell = filler.at();
    SHADOW_ASSIGN(const std::string text,
                  deps_.dm->Message(volume, "map " + std::to_string(from) + "+" +
                                                std::to_string(filler.end() - from)));
    SHADOW_ASSIGN(const MapAnswer answer, ParseMap(text));
    if (answer.runs.empty() || answer.runs.front().range.first != from) {
      return MakeError(Code::kDataLoss, "The map of " + volume + " cannot be understood.");
    }
    for (const StateRun& run : answer.runs) filler.Add(run.range.count, run.state);
    if (!answer.next) break;
    asked = filler.at() == cell ? asked + 1 : 0;
    if (asked >= share) {
      filler.Extrapolate();
      asked = 0;
    }
  }
  return filler.Take();
}

}  // namespace shadow
