// SPDX-License-Identifier: Apache-2.0
// A plain text table: columns two spaces apart, numbers to the right, nothing drawn. One row a
// line, so that grep and awk work on it.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "tools/shadowctl/terminal.h"

namespace shadow::ctl {

struct Cell {
  Cell(std::string t, Colour c = Colour::kNone) : text(std::move(t)), colour(c) {}  // NOLINT
  Cell(const char* t) : text(t) {}                                                  // NOLINT
  std::string text;
  Colour colour = Colour::kNone;
};

class Table {
 public:
  /// `header` names the columns; a leading '>' aligns a column to the right.
  explicit Table(std::vector<std::string> header);
  void Add(std::vector<Cell> row);
  void Print(std::ostream& out, const Terminal& terminal) const;

 private:
  std::vector<std::string> header_;
  std::vector<bool> right_;
  std::vector<std::vector<Cell>> rows_;
};

/// `text` in lines of at most `columns`, broken at spaces; a word that is longer stays whole.
[[nodiscard]] std::vector<std::string> WrapWords(const std::string& text, int columns);

/// "Name:  value" lines, the values below each other; on a terminal, values that are too long go on
/// below themselves.
class Sheet {
 public:
  void Add(std::string name, std::string value, Colour colour = Colour::kNone);
  /// As Add, but left out when the value is empty.
  void AddIf(std::string name, std::string value, Colour colour = Colour::kNone);
  void Print(std::ostream& out, const Terminal& terminal) const;

 private:
  std::vector<std::pair<std::string, Cell>> lines_;
};

}  // namespace shadow::ctl
