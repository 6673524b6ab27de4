// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target without libFuzzer: every file of the corpus folder as it is, then so many
// deterministic mutations of them. For the smoke test; real fuzzing is
// tests/fuzz/run, with libFuzzer and clang.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s CORPUS_DIR MUTATIONS\n", argv[0]);
    return 2;
  }
  std::vector<std::string> corpus;
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1]))
    paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream bytes;
    bytes << file.rdbuf();
    corpus.push_back(std::move(bytes).str());
  }
  if (corpus.empty()) {
    std::fprintf(stderr, "%s: the corpus is empty\n", argv[1]);
    return 1;
  }
  const auto run = [](const std::string& s) {
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(s.data()), s.size());
  };
  for (const std::string& s : corpus) run(s);
  std::mt19937_64 rng(1);
  const long rounds = std::atol(argv[2]);
  for (long i = 0; i < rounds; ++i) {
    std::string s = corpus[rng() % corpus.size()];
    const int edits = 1 + static_cast<int>(rng() % 8);
    for (int k = 0; k < edits && !s.empty(); ++k) {
      const std::size_t at = rng() % s.size();
      switch (rng() % 5) {
        case 0:
          s[at] = static_cast<char>(rng());
          break;
        case 1:
          s[at] = static_cast<char>(s[at] ^ (1 << rng() % 8));
          break;
        case 2:
          s.resize(at);
          break;
        case 3:
          s.insert(at, s.substr(rng() % s.size(), rng() % 40));
          break;
        default:
          for (std::size_t j = at; j < std::min(s.size(), at + 8); ++j)
            s[j] = static_cast<char>(-(rng() % 2));
      }
    }
    run(s);
  }
  std::printf("%zu corpus files and %ld mutations ran\n", corpus.size(), rounds);
  return 0;
}
