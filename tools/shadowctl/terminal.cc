// SPDX-License-Identifier: Apache-2.0
#include "tools/shadowctl/terminal.h"

#include <langinfo.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace shadow::ctl {

int Terminal::Width() const {
  if (fixed_width > 0) return fixed_width;
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

int Terminal::Height() const {
  if (fixed_height > 0) return fixed_height;
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0) return size.ws_row;
  return 24;
}

std::string Terminal::Paint(Colour colour, std::string_view text) const {
  if (!colours || text.empty() || colour == Colour::kNone) return std::string(text);
  const char* code = "0";
  switch (colour) {
    case Colour::kNone:
      break;
    case Colour::kBold:
      code = "1";
      break;
    case Colour::kDim:
      code = "2";
      break;
    case Colour::kRed:
      code = "31";
      break;
    case Colour::kGreen:
      code = "32";
      break;
    case Colour::kYellow:
      code = "33";
      break;
    case Colour::kCyan:
      code = "36";
      break;
  }
  return "\x1b[" + std::string(code) + "m" + std::string(text) + "\x1b[0m";
}

Terminal Terminal::Detect(int fd) {
  Terminal terminal;
  terminal.is_terminal = ::isatty(fd) == 1;
  const char* term = std::getenv("TERM");
  const char* no_color = std::getenv("NO_COLOR");
  const bool dumb = term == nullptr || std::strcmp(term, "dumb") == 0;
  if (dumb) terminal.is_terminal = false;  // cannot redraw a line
  terminal.colours = terminal.is_terminal && (no_color == nullptr || *no_color == '\0');
  terminal.utf8 = std::strcmp(::nl_langinfo(CODESET), "UTF-8") == 0;
  return terminal;
}

int Columns(std::string_view text) {
  int columns = 0;
  for (char c : text) columns += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return columns;
}

std::string ElideMiddle(std::string_view text, int columns) {
  const int size = static_cast<int>(text.size());
  if (size <= columns) return std::string(text);
  if (columns <= 3)
    return std::string(text.substr(0, static_cast<std::size_t>(columns > 0 ? columns : 0)));
  const int head = (columns - 3 + 1) / 2;
  const int tail = columns - 3 - head;
  return std::string(text.substr(0, static_cast<std::size_t>(head))) + "..." +
         std::string(text.substr(static_cast<std::size_t>(size - tail)));
}

}  // namespace shadow::ctl
