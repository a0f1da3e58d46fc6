package tallygate

import (
	"cmp"
	"slices"

	meteringv1 "example.com/server/gen/tallygate/metering/v1"
)

// columns are the handles of the present stream, by which a message says the progress of many requests in arrays.
type columns struct {
	handlesMax int32      // the greatest handle; zero if the node takes no columns
	bound      []*Request // by handle, less one
	free       []int32
}

// bind gives a request a handle with the report that is about to be sent under this number, if there is one to be had.
func (columns *columns) bind(request *Request, report *meteringv1.TokenReport, sequence int64) {
	handle := int32(len(columns.bound)) + 1
	switch {
	case request.bound || report.Phase == meteringv1.ReportPhase_REPORT_PHASE_FINISH:
		return
	case len(columns.free) > 0:
		handle = columns.free[len(columns.free)-1]
		columns.free = columns.free[:len(columns.free)-1]
		columns.bound[handle-1] = request
	case handle <= columns.handlesMax:
		columns.bound = append(columns.bound, request)
	default:
		return
	}
	request.bound, request.handle, request.boundSequence = true, handle, sequence
	report.Handle = handle
}

// release takes back the handle of a request of which nothing more is said.
func (columns *columns) release(request *Request) {
	if request.bound {
		request.bound = false
		columns.bound[request.handle-1] = nil
		columns.free = append(columns.free, request.handle)
	}
}

// raise takes in grants that answer entries. They are valid as all grants of the stream are.
func (columns *columns) raise(grants *meteringv1.GrantColumns) {
	for i, sequence := range grants.GetSequences() {
		handle := grants.Handles[i]
		if handle < 1 || int(handle) > len(columns.bound) {
			continue
		}
		request := columns.bound[handle-1]
		// An entry that left before the handle was bound to this request spoke of another one.
		if request == nil || sequence <= request.boundSequence || request.grant == nil {
			continue
		}
		if ceiling := int64(grants.OutputCeilingTokens[i]); ceiling > request.grant.OutputCeilingTokens {
			request.grant = &meteringv1.Grant{OutputCeilingTokens: ceiling, Resume: grants.Resume[i]}
		}
	}
}

// byEntry says whether an entry may speak of a request: its handle is bound, and it says progress that was not denied.
func (meter *Meter) byEntry(request *Request) bool {
	return request.bound && request.boundSequence <= meter.answeredThrough && request.denial == nil &&
		request.phase == meteringv1.ReportPhase_REPORT_PHASE_PROGRESS && request.output() <= tokensMax
}

// newColumns are the entries of these requests, in the order of their handles; nil for none. It sorts the requests.
func newColumns(requests []*Request) *meteringv1.ProgressColumns {
	if len(requests) == 0 {
		return nil
	}
	slices.SortFunc(requests, func(one, other *Request) int { return cmp.Compare(one.handle, other.handle) })
	entries := &meteringv1.ProgressColumns{}
	reasons := false
	for _, request := range requests {
		entries.Handles = append(entries.Handles, request.handle)
		entries.OutputTokens = append(entries.OutputTokens, int32(request.usage.OutputTokens))
		entries.ReasoningTokens = append(entries.ReasoningTokens, int32(request.usage.ReasoningTokens))
		reasons = reasons || request.usage.ReasoningTokens > 0
	}
	if !reasons {
		entries.ReasoningTokens = nil // as said before: none
	}
	return entries
}
