#pragma once

#include <chrono>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include <grpcpp/support/status.h>

#include "inferwire/v1/embeddings.pb.h"

// Why a call or an item failed, for a program to act upon.
struct Refusal {
  // The name of a status code, as in the contract: INVALID_ARGUMENT.
  std::string code;
  // The name of an ErrorReason.
  std::string reason;
  // The paths of the fields at fault.
  std::vector<std::string> fields;
  // Nothing where sending it again is of no use.
  std::optional<std::chrono::milliseconds> retry_after;

  static Refusal Of(const grpc::Status& status);
  static Refusal Of(const inferwire::v1::ItemError& error);
};

std::ostream& operator<<(std::ostream& out, const Refusal& refusal);

std::string CodeName(const grpc::Status& status);
