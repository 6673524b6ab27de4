// SPDX-License-Identifier: Apache-2.0
// Little-endian writing and bounds-checked reading of plain values: the base of the model and
// snapshot files. Reading past the end fails and gives zeroes; the caller checks once, at the end.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace shadow::pam {

static_assert(std::endian::native == std::endian::little, "files are written in host byte order");

template <typename T>
void Put(std::string* out, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  out->append(reinterpret_cast<const char*>(&value), sizeof(T));
}

template <typename T>
void PutVector(std::string* out, const std::vector<T>& v) {
  Put(out, static_cast<std::uint64_t>(v.size()));
  if (!v.empty()) out->append(reinterpret_cast<const char*>(v.data()), v.size() * sizeof(T));
}

template <typename T>
[[nodiscard]] bool Get(std::string_view* in, T* value) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (in->size() < sizeof(T)) return false;
  std::memcpy(static_cast<void*>(value), in->data(), sizeof(T));
  in->remove_prefix(sizeof(T));
  return true;
}

/// Reads at most `limit` elements; a longer claim fails before anything is allocated.
template <typename T>
[[nodiscard]] bool GetVector(std::string_view* in, std::vector<T>* v, std::uint64_t limit) {
  std::uint64_t size = 0;
  if (!Get(in, &size) || size > limit || size > in->size() / sizeof(T)) return false;
  v->resize(size);
  if (size > 0) std::memcpy(static_cast<void*>(v->data()), in->data(), size * sizeof(T));
  in->remove_prefix(size * sizeof(T));
  return true;
}

}  // namespace shadow::pam
