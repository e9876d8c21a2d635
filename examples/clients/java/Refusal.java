import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import inferwire.v1.ItemError;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/**
 * Why a call or an item failed, for a program to act upon.
 *
 * @param reason the name of an ErrorReason
 * @param fields the paths of the fields at fault
 * @param retryAfter null where sending it again is of no use
 */
record Refusal(Status.Code code, String reason, List<String> fields, Duration retryAfter) {

  static Refusal of(StatusRuntimeException error) {
    com.google.rpc.Status status = StatusProto.fromThrowable(error);
    return of(error.getStatus().getCode(), status == null ? List.of() : status.getDetailsList());
  }

  static Refusal of(ItemError error) {
    return of(Status.fromCodeValue(error.getCode()).getCode(), error.getDetailsList());
  }

  private static Refusal of(Status.Code code, List<Any> details) {
    String reason = "";
    List<String> fields = new ArrayList<>();
    Duration retryAfter = null;
    try {
      for (Any detail : details) {
        if (detail.is(ErrorInfo.class)) {
          reason = detail.unpack(ErrorInfo.class).getReason();
        } else if (detail.is(BadRequest.class)) {
          detail.unpack(BadRequest.class).getFieldViolationsList().forEach(fault -> fields.add(fault.getField()));
        } else if (detail.is(RetryInfo.class)) {
          com.google.protobuf.Duration delay = detail.unpack(RetryInfo.class).getRetryDelay();
          retryAfter = Duration.ofSeconds(delay.getSeconds(), delay.getNanos());
        }
      }
    } catch (InvalidProtocolBufferException error) {
      throw new IllegalArgumentException(error);
    }
    return new Refusal(code, reason, List.copyOf(fields), retryAfter);
  }

  @Override
  public String toString() {
    List<String> words = new ArrayList<>(List.of(code.name(), reason));
    words.addAll(fields);
    if (retryAfter != null) {
      words.add("after %d ms".formatted(retryAfter.toMillis()));
    }
    return String.join(" ", words);
  }
}
