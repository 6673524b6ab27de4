// SPDX-License-Identifier: Apache-2.0
// What the output is: a terminal or not, how wide, with colours or without, with UTF-8 or without.
//
// Looked up once at the start, the width again before every progress line. Tests make their own.
#pragma once

#include <string>
#include <string_view>

namespace shadow::ctl {

enum class Colour { kNone, kBold, kDim, kRed, kGreen, kYellow, kCyan };

struct Terminal {
  bool is_terminal = false;  // standard output is one
  bool colours = false;
  bool utf8 = false;
  int fixed_width = 0;  // columns; 0: ask the terminal
  int fixed_height = 0;

  /// Columns of the terminal, 80 if it does not say.
  [[nodiscard]] int Width() const;
  /// Lines of the terminal, 24 if it does not say.
  [[nodiscard]] int Height() const;
  /// `text` in `colour`, or as it is if there are none.
  [[nodiscard]] std::string Paint(Colour colour, std::string_view text) const;

  /// Of file descriptor `fd` (1 or 2), NO_COLOR, TERM and the locale.
  [[nodiscard]] static Terminal Detect(int fd);
};

/// Columns `text` takes: one for each character, for UTF-8 without wide characters.
[[nodiscard]] int Columns(std::string_view text);

/// `text` in at most `columns` columns, with "..." in its middle when it had to be cut. ASCII only.
[[nodiscard]] std::string ElideMiddle(std::string_view text, int columns);

}  // namespace shadow::ctl
