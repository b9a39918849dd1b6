// X_fuzz_seeds DIRECTORY: writes the seeds of a fuzz target there, a file each.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "proto/fuzz/fuzz_target.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
    return 2;
  }
  const std::filesystem::path directory = argv[1];
  std::filesystem::create_directories(directory);
  int number = 0;
  for (const auto& seed : migrate::FuzzSeeds()) {
    std::ofstream out(directory / ("seed" + std::to_string(number++)), std::ios::binary);
    out.write(reinterpret_cast<const char*>(seed.data()), static_cast<std::streamsize>(seed.size()));
    if (!out.flush()) {
      std::fprintf(stderr, "cannot write to %s\n", argv[1]);
      return 1;
    }
  }
  return 0;
}
