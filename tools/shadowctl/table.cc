// SPDX-License-Identifier: Apache-2.0
#include "tools/shadowctl/table.h"

#include <algorithm>
#include <sstream>

namespace shadow::ctl {

Table::Table(std::vector<std::string> header) : header_(std::move(header)) {
  for (std::string& name : header_) {
    right_.push_back(name.starts_with('>'));
    if (right_.back()) name.erase(0, 1);
  }
}

void Table::Add(std::vector<Cell> row) {
  for (Cell& cell : row) {
    if (cell.text.empty()) cell.text.assign(1, '-');
  }
  rows_.push_back(std::move(row));
}

void Table::Print(std::ostream& out, const Terminal& terminal) const {
  std::vector<int> width;
  for (const std::string& name : header_) width.push_back(Columns(name));
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i)
      width[i] = std::max(width[i], Columns(row[i].text));
  }
  const auto print = [&](const std::vector<Cell>& row) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string pad(static_cast<std::size_t>(width[i] - Columns(row[i].text)), ' ');
      const std::string text = terminal.Paint(row[i].colour, row[i].text);
      if (i > 0) out << "  ";
      if (right_[i]) {
        out << pad << text;
      } else {
        out << text << (i + 1 < row.size() ? pad : "");
      }
    }
    out << '\n';
  };
  std::vector<Cell> header;
  for (const std::string& name : header_) header.emplace_back(name, Colour::kBold);
  print(header);
  for (const auto& row : rows_) print(row);
}

std::vector<std::string> WrapWords(const std::string& text, int columns) {
  if (columns <= 0 || Columns(text) <= columns) return {text};
  std::vector<std::string> lines(1);
  std::istringstream in(text);
  for (std::string word; in >> word;) {
    std::string& line = lines.back();
    if (line.empty()) {
      line = word;
    } else if (Columns(line) + 1 + Columns(word) <= columns) {
      line += ' ' + word;
    } else {
      lines.push_back(word);
    }
  }
  return lines;
}

void Sheet::Add(std::string name, std::string value, Colour colour) {
  lines_.emplace_back(std::move(name), Cell(std::move(value), colour));
}

void Sheet::AddIf(std::string name, std::string value, Colour colour) {
  if (!value.empty()) Add(std::move(name), std::move(value), colour);
}

void Sheet::Print(std::ostream& out, const Terminal& terminal) const {
  int width = 0;
  for (const auto& [name, value] : lines_) width = std::max(width, Columns(name));
  const int room = terminal.is_terminal ? terminal.Width() - width - 3 : 0;
  for (const auto& [name, value] : lines_) {
    const std::string label = name + ':';
    out << terminal.Paint(Colour::kBold, label)
        << std::string(static_cast<std::size_t>(width + 3 - Columns(label)), ' ');
    bool first = true;
    for (const std::string& line : WrapWords(value.text, room)) {
      if (!first) out << std::string(static_cast<std::size_t>(width) + 3, ' ');
      first = false;
      out << terminal.Paint(value.colour, line) << '\n';
    }
  }
}

}  // namespace shadow::ctl
