#include "refusal.h"

#include "google/rpc/code.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace {

std::string NameOf(int code) { return google::rpc::Code_Name(static_cast<google::rpc::Code>(code)); }

template <typename Details>
Refusal Read(int code, const Details& details) {
  Refusal refusal{NameOf(code), "", {}, std::nullopt};
  for (const auto& detail : details) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad_request;
    google::rpc::RetryInfo retry;
    if (detail.UnpackTo(&info)) {
      refusal.reason = info.reason();
    } else if (detail.UnpackTo(&bad_request)) {
      for (const auto& fault : bad_request.field_violations()) refusal.fields.push_back(fault.field());
    } else if (detail.UnpackTo(&retry)) {
      const auto& delay = retry.retry_delay();
      refusal.retry_after = std::chrono::milliseconds(delay.seconds() * 1000 + delay.nanos() / 1'000'000);
    }
  }
  return refusal;
}

}  // namespace

Refusal Refusal::Of(const grpc::Status& status) {
  google::rpc::Status packed;
  packed.ParseFromString(status.error_details());
  return Read(status.error_code(), packed.details());
}

Refusal Refusal::Of(const inferwire::v1::ItemError& error) { return Read(error.code(), error.details()); }

std::ostream& operator<<(std::ostream& out, const Refusal& refusal) {
  out << refusal.code << ' ' << refusal.reason;
  for (const auto& field : refusal.fields) out << ' ' << field;
  if (refusal.retry_after) out << " after " << refusal.retry_after->count() << " ms";
  return out;
}

std::string CodeName(const grpc::Status& status) { return NameOf(status.error_code()); }
