package tallygate

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	meteringv1 "example.com/server/gen/tallygate/metering/v1"
)

const (
	heartbeatInterval    = time.Second
	silence              = heartbeatInterval + time.Second
	backoffBase          = 50 * time.Millisecond
	backoffMax           = 2 * time.Second
	reportsPerMessageMax = 1_024
	tokensMax            = 100_000_000
)

type stream = grpc.BidiStreamingClient[meteringv1.MeterRequest, meteringv1.MeterResponse]

// run keeps one stream going until the context ends.
func (meter *Meter) run(ctx context.Context) {
	defer close(meter.stopped)
	failures := 0
	for turn := 0; ctx.Err() == nil; turn++ {
		address := meter.addresses[turn%len(meter.addresses)]
		meter.mutex.Lock()
		meter.restart()
		meter.mutex.Unlock()
		heard, err := meter.stream(ctx, address)
		meter.mutex.Lock()
		meter.trouble = fmt.Errorf("%s: %w", address, err)
		meter.mutex.Unlock()
		failures++
		if heard {
			failures = 0
		}
		select {
		case <-time.After(backoff(failures)):
		case <-ctx.Done():
		}
	}
}

// stream runs one stream until it breaks, and returns whether the node said anything, and why it ended.
func (meter *Meter) stream(ctx context.Context, address string) (heard bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	options, err := meter.security.options(address)
	if err != nil {
		cancel()
		return false, err
	}
	connection, err := grpc.NewClient(address, options...)
	if err != nil {
		cancel()
		return false, err
	}
	defer connection.Close()
	watchdog := time.AfterFunc(silence, cancel)
	defer watchdog.Stop()
	// Nothing counts as sent before there is somebody to send it to.
	connection.Connect()
	for state := connection.GetState(); state != connectivity.Ready; state = connection.GetState() {
		if state == connectivity.TransientFailure || !connection.WaitForStateChange(ctx, state) {
			cancel()
			return false, fmt.Errorf("cannot be connected to")
		}
	}
	call, err := meteringv1.NewMeteringServiceClient(connection).Meter(ctx)
	if err != nil {
		cancel()
		return false, err
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		meter.write(ctx, call)
	}()
	defer func() {
		cancel()
		<-written
	}()
	for {
		response, err := call.Recv()
		if err != nil {
			return heard, err
		}
		heard = true
		watchdog.Reset(silence)
		meter.mutex.Lock()
		meter.receive(response)
		meter.mutex.Unlock()
	}
}

// write sends what there is to say, and a heartbeat whenever there was nothing for a while.
func (meter *Meter) write(ctx context.Context, call stream) {
	heartbeat := time.NewTicker(heartbeatInterval)
	defer heartbeat.Stop()
	for {
		meter.mutex.Lock()
		message, more := meter.take(), len(meter.toSay) > 0
		meter.mutex.Unlock()
		if call.Send(message) != nil {
			return // Recv says why
		}
		if more {
			continue
		}
		select {
		case <-meter.wake:
		case <-heartbeat.C:
		case <-ctx.Done():
			return
		}
	}
}
