// Tries a fuzz target without libFuzzer: its seeds as they are, then changed at random, the same way
// every time.
//   X_fuzz_smoke [ITERATIONS]       default 4000
//   X_fuzz_smoke --only ITERATION   what a failed run printed
//   X_fuzz_smoke FILE...            inputs that a fuzzer wrote
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>

#include "proto/fuzz/fuzz_target.h"

namespace migrate {
namespace {

using Bytes = std::vector<std::byte>;

volatile sig_atomic_t current = 0;

extern "C" void OnCrash(int number) {
  char text[64];
  const int size = snprintf(text, sizeof text, "repeat with: --only %d\n", static_cast<int>(current));
  if (write(STDERR_FILENO, text, static_cast<std::size_t>(size)) < 0) {
    _exit(1);
  }
  signal(number, SIG_DFL);
  raise(number);
}

void ChangeOnce(Bytes& input, const Bytes& other, std::mt19937_64& random) {
  const std::size_t at = random() % input.size();
  const auto where = input.begin() + static_cast<std::ptrdiff_t>(at);
  const std::size_t length = std::min<std::size_t>(1 + random() % 64, input.size() - at);
  static constexpr std::uint64_t kNotable[] = {0,          1,          0x7f,       0x80,
                                               0xff,       0xffff,     0x7fffffff, 0x80000000,
                                               0xffffffff, 0x04000000, 64,         ~std::uint64_t{0}};
  switch (random() % 6) {
    case 0:
      input[at] ^= static_cast<std::byte>(1u << random() % 8);
      break;
    case 1:
      input[at] = static_cast<std::byte>(random());
      break;
    case 2: {
      const std::uint64_t value = kNotable[random() % std::size(kNotable)];
      std::memcpy(&*where, &value, std::min<std::size_t>(length, 1u << random() % 4));
      break;
    }
    case 3:
      input.erase(where, where + static_cast<std::ptrdiff_t>(length));
      break;
    case 4: {
      const Bytes copy(where, where + static_cast<std::ptrdiff_t>(length));
      input.insert(input.begin() + static_cast<std::ptrdiff_t>(random() % input.size()),
                   copy.begin(), copy.end());
      break;
    }
    default: {
      const std::size_t from = random() % other.size();
      input.resize(at);
      input.insert(input.end(), other.begin() + static_cast<std::ptrdiff_t>(from), other.end());
    }
  }
}

void Iterate(const std::vector<Bytes>& seeds, int iteration) {
  current = iteration;
  std::mt19937_64 random(static_cast<std::uint64_t>(iteration));
  Bytes input = seeds[static_cast<std::size_t>(iteration) % seeds.size()];
  const bool as_it_is = static_cast<std::size_t>(iteration) < seeds.size();
  for (std::uint64_t changes = as_it_is ? 0 : 1 + random() % 4; changes > 0 && !input.empty();
       --changes) {
    ChangeOnce(input, seeds[random() % seeds.size()], random);
  }
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
}

int Main(int argc, char** argv) {
  const std::vector<Bytes> seeds = FuzzSeeds();
  for (const int number : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
    signal(number, OnCrash);
  }
  if (argc == 3 && std::string_view(argv[1]) == "--only") {
    Iterate(seeds, std::atoi(argv[2]));
    return 0;
  }
  if (argc > 1 && std::atoi(argv[1]) == 0) {
    for (int i = 1; i < argc; ++i) {
      std::ifstream in(argv[i], std::ios::binary);
      const std::string text(std::istreambuf_iterator<char>(in), {});
      LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
    }
    return 0;
  }
  const int iterations = argc > 1 ? std::atoi(argv[1]) : 4000;
  for (int i = 0; i < iterations; ++i) {
    Iterate(seeds, i);
  }
  std::printf("%d inputs from %zu seeds\n", iterations, seeds.size());
  return 0;
}

}  // namespace
}  // namespace migrate

int main(int argc, char** argv) { return migrate::Main(argc, argv); }
