import inferwire.v1.InferenceServiceGrpc.InferenceServiceStub;
import inferwire.v1.StreamEmbeddingsRequest;
import inferwire.v1.StreamEmbeddingsResponse;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import java.util.Iterator;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;

/** Sends as fast as the server reads: it reads no further while its results are not read. */
final class Bulk implements ClientResponseObserver<StreamEmbeddingsRequest, StreamEmbeddingsResponse> {
  private final Iterator<StreamEmbeddingsRequest> requests;
  private final Consumer<StreamEmbeddingsResponse> reader;
  private final CompletableFuture<Void> ended = new CompletableFuture<>();
  private boolean halfClosed;

  private Bulk(Iterator<StreamEmbeddingsRequest> requests, Consumer<StreamEmbeddingsResponse> reader) {
    this.requests = requests;
    this.reader = reader;
  }

  /** Returns when all results are read, in a thread of gRPC's. */
  static void send(
      InferenceServiceStub stub,
      Iterator<StreamEmbeddingsRequest> requests,
      Consumer<StreamEmbeddingsResponse> reader)
      throws Exception {
    Bulk bulk = new Bulk(requests, reader);
    stub.streamEmbeddings(bulk);
    bulk.ended.get();
  }

  @Override
  public void beforeStart(ClientCallStreamObserver<StreamEmbeddingsRequest> call) {
    call.setOnReadyHandler(
        () -> {
          while (call.isReady() && requests.hasNext()) {
            call.onNext(requests.next());
          }
          if (!requests.hasNext() && !halfClosed) {
            halfClosed = true;
            call.onCompleted();
          }
        });
  }

  @Override
  public void onNext(StreamEmbeddingsResponse result) {
    reader.accept(result);
  }

  @Override
  public void onError(Throwable error) {
    ended.completeExceptionally(error);
  }

  @Override
  public void onCompleted() {
    ended.complete(null);
  }
}
