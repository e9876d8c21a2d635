package main

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "inferwire/v1"
)

// refusal is why a call or an item failed, for a program to act upon.
type refusal struct {
	code codes.Code
	// reason is the name of an ErrorReason.
	reason string
	// fields are the paths of the fields at fault.
	fields []string
	// retryAfter is nil where sending it again is of no use.
	retryAfter *time.Duration
}

func refusalOf(err error) refusal {
	return refusalOfStatus(status.Convert(err))
}

// refusalOfItem reads the error of an item, whose fields are those of google.rpc.Status.
func refusalOfItem(failed *pb.ItemError) refusal {
	same := &spb.Status{Code: failed.GetCode(), Message: failed.GetMessage(), Details: failed.GetDetails()}
	return refusalOfStatus(status.FromProto(same))
}

func refusalOfStatus(failed *status.Status) refusal {
	refused := refusal{code: failed.Code()}
	for _, detail := range failed.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			refused.reason = detail.GetReason()
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				refused.fields = append(refused.fields, violation.GetField())
			}
		case *errdetails.RetryInfo:
			delay := detail.GetRetryDelay()
			after := time.Duration(delay.GetSeconds())*time.Second + time.Duration(delay.GetNanos())
			refused.retryAfter = &after
		}
	}
	return refused
}

func (refused refusal) String() string {
	words := append([]string{codeName(refused.code), refused.reason}, refused.fields...)
	if refused.retryAfter != nil {
		words = append(words, fmt.Sprintf("after %d ms", refused.retryAfter.Milliseconds()))
	}
	return strings.Join(words, " ")
}

// codeName is the name that the contract and the other clients use: INVALID_ARGUMENT.
func codeName(of codes.Code) string {
	return code.Code_name[int32(of)]
}
