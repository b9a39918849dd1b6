// Reading JSON that may lack anything, without exceptions: a missing or null member, or one of
// another type, is the type's empty value. Included by .cc files only.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "migrated/docker/docker_types.h"

namespace migrate {

// Ordered: what we pass on keeps the order that Docker gave it.
using Json = nlohmann::ordered_json;

inline const Json& JsonAt(const Json& object, std::string_view key) {
  static const Json null;
  if (!object.is_object()) {
    return null;
  }
  const auto it = object.find(std::string(key));
  return it == object.end() ? null : *it;
}

inline std::string JsonString(const Json& object, std::string_view key) {
  const Json& value = JsonAt(object, key);
  return value.is_string() ? value.get<std::string>() : std::string();
}

inline bool JsonBool(const Json& object, std::string_view key) {
  const Json& value = JsonAt(object, key);
  return value.is_boolean() && value.get<bool>();
}

inline std::int64_t JsonInt(const Json& object, std::string_view key) {
  const Json& value = JsonAt(object, key);
  return value.is_number_integer() ? value.get<std::int64_t>() : 0;
}

inline std::vector<std::string> JsonStrings(const Json& object, std::string_view key) {
  std::vector<std::string> strings;
  for (const Json& value : JsonAt(object, key)) {
    if (value.is_string()) {
      strings.push_back(value.get<std::string>());
    }
  }
  return strings;
}

inline StringMap JsonStringMap(const Json& object, std::string_view key) {
  StringMap map;
  const Json& value = JsonAt(object, key);
  if (value.is_object()) {
    for (const auto& item : value.items()) {
      if (item.value().is_string()) {
        map[item.key()] = item.value().get<std::string>();
      }
    }
  }
  return map;
}

// True for a member that says nothing: missing, null, "", [], {}, 0 or false.
inline bool JsonEmpty(const Json& object, std::string_view key) {
  const Json& value = JsonAt(object, key);
  return value.is_null() || (value.is_string() && value.get_ref<const std::string&>().empty()) ||
         ((value.is_array() || value.is_object()) && value.empty()) ||
         (value.is_boolean() && !value.get<bool>()) || (value.is_number() && value == 0);
}

inline Result<Json> ParseJsonObject(const std::string& text, std::string_view what) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return MakeError(ErrorCode::kInternal, std::string(what) + ": not a JSON object");
  }
  return json;
}

// Bytes that are not UTF-8 are replaced rather than thrown about.
inline std::string DumpJson(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace migrate
