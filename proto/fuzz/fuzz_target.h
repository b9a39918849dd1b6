// What each file *_fuzz.cc of this folder defines: the function that libFuzzer calls, and inputs to
// begin with. The same file makes three programs (see CMakeLists.txt here): the fuzzer, one that
// writes the inputs to a directory, and one that tries a few thousand changed inputs in the tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace migrate {

std::vector<std::vector<std::byte>> FuzzSeeds();

}  // namespace migrate
