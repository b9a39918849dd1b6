#include "base/result.h"

#include <gtest/gtest.h>

#include <memory>

namespace migrate {
namespace {

Result<int> Half(int value) {
  if (value % 2 != 0) {
    return MakeError(ErrorCode::kInvalidArgument, "odd");
  }
  return value / 2;
}

Result<std::unique_ptr<int>> Quarter(int value) {
  const int half = TRY(Half(value));
  return std::make_unique<int>(TRY(Half(half)));
}

Result<> Check(int value) {
  TRY(Half(value));
  return {};
}

TEST(Result, TryPassesValuesAndErrorsOn) {
  EXPECT_EQ(**Quarter(8), 2);
  EXPECT_EQ(Quarter(6).error().message, "odd");
  EXPECT_TRUE(Check(2));
  EXPECT_EQ(Check(1).error().code, ErrorCode::kInvalidArgument);
}

TEST(Result, ContextGoesInFront) {
  EXPECT_EQ(MakeError(ErrorCode::kInternal, "b").WithContext("a").message, "a: b");
}

TEST(Result, ErrnoErrorHasCodeAndText) {
  const Error error = ErrnoError("open /x", ENOENT);
  EXPECT_EQ(error.code, ErrorCode::kNotFound);
  EXPECT_EQ(error.message, "open /x: No such file or directory");
}

}  // namespace
}  // namespace migrate
