package tallygate

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	meteringv1 "example.com/server/gen/tallygate/metering/v1"
)

// Denied says that a metering node said no.
type Denied struct {
	Reason     string // a name of DecisionReason without its prefix, such as NOT_ENABLED
	Message    string // the same as a sentence
	Retryable  bool   // the same request may pass later without anybody doing anything
	RetryAfter time.Duration
}

func (denied *Denied) Error() string {
	return fmt.Sprintf("denied: %s: %s", denied.Reason, denied.Message)
}

func newDenied(decision *meteringv1.Decision) *Denied {
	return &Denied{
		Reason:     strings.TrimPrefix(decision.Reason.String(), "DECISION_REASON_"),
		Message:    decision.Message,
		Retryable:  decision.Retryable,
		RetryAfter: decision.RetryAfter.AsDuration(),
	}
}

// Question is what is asked before a request runs.
type Question struct {
	Service         string // accounts/{account}/services/{service}
	RequestID       string // unique within the service for ever
	Usage           *meteringv1.TokenUsage
	MaxOutputTokens *int64
	Labels          map[string]string
}

// Request is one request, from its authorisation to its finish. It is not for concurrent use.
type Request struct {
	meter        *Meter
	question     Question
	usage        *meteringv1.TokenUsage
	phase        meteringv1.ReportPhase
	estimated    bool
	grant        *meteringv1.Grant
	validUntil   time.Time
	denial       *Denied
	finishDenial *Denied
	receipt      *meteringv1.Receipt
	durable      bool
	everSent     bool
	queued       bool
	saidCeiling  int64
	saidOutput   int64
	// Of the present stream: whether the request was introduced, its first report's number and its latest one's.
	introduced                  bool
	firstSequence, lastSequence int64
	// Whether it is bound to a handle of the present stream, which one, and the number of the report that bound it.
	bound         bool
	handle        int32
	boundSequence int64
}

// Denial says why it must stop, or is nil. It may be set at any moment.
func (request *Request) Denial() *Denied {
	request.meter.mutex.Lock()
	defer request.meter.mutex.Unlock()
	return request.denial
}

// FreeTokens says how many more output tokens may be generated now: none at the ceiling, after a stop, or if the grant
// ran out.
func (request *Request) FreeTokens() int64 {
	request.meter.mutex.Lock()
	defer request.meter.mutex.Unlock()
	return request.freeTokens()
}

// Progress takes in how much was generated so far, and returns whether to go on. It waits only if nothing is free right
// now. False: stop generating and finish; Denial says why unless the last grant was used up. An error means that there
// was no answer in time: stop and finish as well.
func (request *Request) Progress(ctx context.Context, outputTokens, reasoningTokens int64) (bool, error) {
	meter := request.meter
	meter.mutex.Lock()
	defer meter.mutex.Unlock()
	request.usage.OutputTokens, request.usage.ReasoningTokens = outputTokens, reasoningTokens
	grant := request.grant
	if !grant.IsFinal && grant.OutputCeilingTokens > request.saidCeiling && 2*request.output() > grant.OutputCeilingTokens {
		request.sayProgress()
	}
	if request.freeTokens() > 0 || request.ended() {
		return request.freeTokens() > 0, nil
	}
	if request.saidOutput != request.output() || meter.isAnswered(request) {
		request.sayProgress()
	}
	err := meter.until(ctx, func() bool {
		return request.freeTokens() > 0 || request.ended() || meter.isAnswered(request)
	})
	return err == nil && request.freeTokens() > 0, err
}

// Finish says the final counts, nil for those said last, and waits until they are durable. The error is a *Denied if
// they were not taken. If there was no answer in time they are still said until they are durable, or the process ends.
func (request *Request) Finish(
	ctx context.Context, usage *meteringv1.TokenUsage, estimated bool,
) (*meteringv1.Receipt, error) {
	meter := request.meter
	meter.mutex.Lock()
	defer meter.mutex.Unlock()
	if usage != nil {
		request.usage = usage
	}
	request.phase, request.estimated = meteringv1.ReportPhase_REPORT_PHASE_FINISH, estimated
	meter.say(request)
	if err := meter.until(ctx, func() bool { return request.durable }); err != nil {
		return nil, err
	}
	if request.finishDenial != nil {
		return nil, request.finishDenial
	}
	return request.receipt, nil
}

// What follows is called with the mutex held.

func (request *Request) sayProgress() {
	request.phase = meteringv1.ReportPhase_REPORT_PHASE_PROGRESS
	request.saidOutput, request.saidCeiling = request.output(), request.grant.OutputCeilingTokens
	request.meter.say(request)
}

// report is the latest one. The first on a stream introduces the request and brings its last grant along.
func (request *Request) report() *meteringv1.TokenReport {
	report := &meteringv1.TokenReport{
		RequestId:   request.question.RequestID,
		Phase:       request.phase,
		Usage:       proto.CloneOf(request.usage), // counts change while gRPC encodes
		Estimated:   request.estimated,
		WantReceipt: request.phase == meteringv1.ReportPhase_REPORT_PHASE_FINISH,
	}
	if !request.introduced {
		request.introduced = true
		report.Service = request.question.Service
		report.MaxOutputTokens = request.question.MaxOutputTokens
		report.Labels = request.question.Labels
		report.Resume = request.grant.GetResume()
	}
	return report
}

// output is what a grant's ceiling counts.
func (request *Request) output() int64 {
	return request.usage.GetOutputTokens() + request.usage.GetReasoningTokens()
}

func (request *Request) freeTokens() int64 {
	if request.denial != nil || request.grant == nil || request.meter.isExpired(request) {
		return 0
	}
	return max(0, request.grant.OutputCeilingTokens-request.output())
}

// ended says whether no answer can change anything any more.
func (request *Request) ended() bool {
	return request.denial != nil || request.grant.IsFinal && request.output() >= request.grant.OutputCeilingTokens
}
