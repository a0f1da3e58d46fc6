// Package tallygate is a client for Tallygate's Meter stream: one Meter per server process, many requests in it.
//
// It says reports in time, and when the stream breaks it goes on with the next address and says again whatever is not
// durable yet. All counts are cumulative.
package tallygate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	meteringv1 "example.com/server/gen/tallygate/metering/v1"
)

const answerTimeout = 5 * time.Second

// ErrUnreachable means that no metering node answered in time: nothing is known, which is not the same as no.
var ErrUnreachable = errors.New("no metering node answered in time")

// Meter is the stream and the requests in it.
type Meter struct {
	addresses []string
	security  Security
	stop      context.CancelFunc
	stopped   chan struct{}

	mutex   sync.Mutex // guards all that follows, and the requests
	open    map[string]*Request
	toSay   []*Request
	wake    chan struct{} // tells the writer that there is something to say
	news    chan struct{} // closed, and replaced, with every message from a node
	trouble error
	// Of the present stream:
	numbered, answeredThrough, durableThrough int64
	renewedUntil                              time.Time
	sent                                      []sent
	finishes                                  []*Request
	columns                                   columns
}

// sent is a message that is not answered yet.
type sent struct {
	first, through int64
	at             time.Time
	heartbeat      bool
}

// New begins to connect. Addresses are HOST:PORT, of any number of metering nodes.
func New(security Security, addresses ...string) *Meter {
	ctx, stop := context.WithCancel(context.Background())
	meter := &Meter{
		addresses: addresses,
		security:  security,
		stop:      stop,
		stopped:   make(chan struct{}),
		open:      map[string]*Request{},
		wake:      make(chan struct{}, 1),
		news:      make(chan struct{}),
		trouble:   errors.New("no attempt was made"),
	}
	go meter.run(ctx)
	return meter
}

// Authorize asks whether a request may run. The error is a *Denied, ErrUnreachable or the context's; then nothing
// remains held for it.
func (meter *Meter) Authorize(ctx context.Context, question Question) (*Request, error) {
	meter.mutex.Lock()
	defer meter.mutex.Unlock()
	if meter.open[question.RequestID] != nil {
		return nil, fmt.Errorf("request %s is open already", question.RequestID)
	}
	request := &Request{
		meter:      meter,
		question:   question,
		usage:      &meteringv1.TokenUsage{},
		phase:      meteringv1.ReportPhase_REPORT_PHASE_AUTHORIZE,
		saidOutput: -1,
	}
	proto.Merge(request.usage, question.Usage)
	meter.open[question.RequestID] = request
	meter.say(request)
	err := meter.until(ctx, func() bool { return request.grant != nil || request.denial != nil })
	if err == nil && request.denial == nil {
		return request, nil
	}
	meter.withdraw(request)
	if err == nil {
		err = request.denial
	}
	return nil, err
}

// Close waits until every finish is durable, then hangs up.
func (meter *Meter) Close(ctx context.Context) error {
	meter.mutex.Lock()
	err := meter.until(ctx, func() bool {
		for _, request := range meter.open {
			if request.phase == meteringv1.ReportPhase_REPORT_PHASE_FINISH {
				return false
			}
		}
		return true
	})
	meter.mutex.Unlock()
	meter.stop()
	<-meter.stopped
	return err
}

// What follows is called with the mutex held.

// until waits for what only a node's answer can bring about; the mutex is free meanwhile.
func (meter *Meter) until(ctx context.Context, done func() bool) error {
	timeout := time.NewTimer(answerTimeout)
	defer timeout.Stop()
	for !done() {
		var err error
		news := meter.news
		meter.mutex.Unlock()
		select {
		case <-news:
		case <-timeout.C:
			err = ErrUnreachable
		case <-ctx.Done():
			err = ctx.Err()
		}
		meter.mutex.Lock()
		if errors.Is(err, ErrUnreachable) {
			return fmt.Errorf("%w at %s: %w", err, strings.Join(meter.addresses, ", "), meter.trouble)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// say puts the latest of a request into the next message; what gathers while one is sent leaves together.
func (meter *Meter) say(request *Request) {
	if !request.queued {
		request.queued = true
		meter.toSay = append(meter.toSay, request)
	}
	select {
	case meter.wake <- struct{}{}:
	default:
	}
}

func (meter *Meter) withdraw(request *Request) {
	if request.denial != nil || !request.everSent {
		delete(meter.open, request.question.RequestID)
		meter.columns.release(request)
		return
	}
	// It may have been allowed: give back what is held for it.
	request.usage, request.phase = &meteringv1.TokenUsage{}, meteringv1.ReportPhase_REPORT_PHASE_FINISH
	meter.say(request)
}

// isAnswered says whether everything said of a request was sent and answered.
func (meter *Meter) isAnswered(request *Request) bool {
	return !request.queued && 0 < request.lastSequence && request.lastSequence <= meter.answeredThrough
}

// isExpired says whether neither the grant's own validity nor the stream's renewal of all grants carries it any longer.
func (meter *Meter) isExpired(request *Request) bool {
	now := time.Now()
	renewed := 0 < request.firstSequence && request.firstSequence <= meter.answeredThrough
	return !now.Before(request.validUntil) && !(renewed && now.Before(meter.renewedUntil))
}

// restart begins a new stream: numbers start again, and the latest of every open request is said anew.
func (meter *Meter) restart() {
	meter.numbered, meter.answeredThrough, meter.durableThrough = 0, 0, 0
	meter.renewedUntil = time.Time{}
	meter.sent, meter.finishes, meter.toSay, meter.columns = nil, nil, nil, columns{}
	for _, request := range meter.open {
		request.introduced, request.queued, request.bound = false, false, false
		request.firstSequence, request.lastSequence = 0, 0
		meter.say(request)
	}
}

// take makes the next message, a heartbeat if there is nothing to say. Entries of columns are numbered before reports.
func (meter *Meter) take() *meteringv1.MeterRequest {
	first := meter.numbered + 1
	var entries, reports []*Request
	for len(meter.toSay) > 0 && len(entries)+len(reports) < reportsPerMessageMax {
		request := meter.toSay[0]
		meter.toSay = meter.toSay[1:]
		request.queued = false
		switch {
		case meter.open[request.question.RequestID] != request: // withdrawn
		case meter.byEntry(request):
			entries = append(entries, request)
		default:
			reports = append(reports, request)
		}
	}
	message := &meteringv1.MeterRequest{FirstSequence: first, Columns: newColumns(entries)}
	for _, request := range entries {
		meter.number(request)
	}
	for _, request := range reports {
		meter.number(request)
		report := request.report()
		meter.columns.bind(request, report, meter.numbered)
		message.Reports = append(message.Reports, report)
	}
	heartbeat := len(entries)+len(reports) == 0
	meter.sent = append(meter.sent, sent{first, meter.numbered, time.Now(), heartbeat})
	return message
}

func (meter *Meter) number(request *Request) {
	meter.numbered++
	request.everSent = true
	request.lastSequence = meter.numbered
	if request.firstSequence == 0 {
		request.firstSequence = meter.numbered
	}
	if request.phase == meteringv1.ReportPhase_REPORT_PHASE_FINISH {
		meter.finishes = append(meter.finishes, request)
	}
}

func (meter *Meter) receive(response *meteringv1.MeterResponse) {
	if response.ColumnsHandlesMax > 0 {
		meter.columns.handlesMax = response.ColumnsHandlesMax
	}
	for _, decision := range response.Decisions {
		if request := meter.open[decision.RequestId]; request != nil {
			meter.decide(request, decision)
		}
	}
	meter.columns.raise(response.Grants)
	meter.answeredThrough = max(meter.answeredThrough, response.AnsweredThrough)
	meter.durableThrough = max(meter.durableThrough, response.DurableThrough)
	for len(meter.sent) > 0 && meter.wasAnswered(meter.sent[0]) {
		if response.GrantsValidFor != nil {
			meter.renewedUntil = meter.sent[0].at.Add(response.GrantsValidFor.AsDuration())
		}
		meter.sent = meter.sent[1:]
	}
	for len(meter.finishes) > 0 && meter.finishes[0].lastSequence <= meter.durableThrough {
		meter.finishes[0].durable = true
		meter.columns.release(meter.finishes[0])
		delete(meter.open, meter.finishes[0].question.RequestID)
		meter.finishes = meter.finishes[1:]
	}
	close(meter.news)
	meter.news = make(chan struct{})
}

func (meter *Meter) decide(request *Request, decision *meteringv1.Decision) {
	finishing := request.phase == meteringv1.ReportPhase_REPORT_PHASE_FINISH
	latest := decision.Sequence != nil && *decision.Sequence == request.lastSequence && !request.queued
	switch {
	case decision.Verdict != meteringv1.Verdict_VERDICT_ALLOW && !(finishing && latest):
		request.denial = newDenied(decision)
	case decision.Verdict != meteringv1.Verdict_VERDICT_ALLOW:
		// Other denials of a finish only say that the service may not go on.
		switch decision.Reason {
		case meteringv1.DecisionReason_DECISION_REASON_INVALID_REPORT,
			meteringv1.DecisionReason_DECISION_REASON_REQUEST_ID_REUSED,
			meteringv1.DecisionReason_DECISION_REASON_TOO_OLD,
			meteringv1.DecisionReason_DECISION_REASON_UNKNOWN_SERVICE:
			request.finishDenial = newDenied(decision)
		}
	case decision.Grant != nil:
		request.grant, request.validUntil = decision.Grant, time.Time{}
		for _, message := range meter.sent {
			if message.first <= decision.GetSequence() && decision.GetSequence() <= message.through {
				request.validUntil = message.at.Add(decision.Grant.ValidFor.AsDuration())
			}
		}
	}
	if decision.Receipt != nil {
		request.receipt = decision.Receipt
	}
}

// wasAnswered knows that a heartbeat has no number: what comes soon after it may still answer what went before.
func (meter *Meter) wasAnswered(message sent) bool {
	if !message.heartbeat {
		return message.through <= meter.answeredThrough
	}
	waited := time.Since(message.at) >= heartbeatInterval
	return message.through < meter.answeredThrough || message.through == meter.answeredThrough && waited
}

func backoff(failures int) time.Duration {
	return rand.N(min(backoffMax, backoffBase<<min(failures, 10)))
}
