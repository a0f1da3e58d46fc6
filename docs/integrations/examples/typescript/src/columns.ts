/** Progress in columns: the handles of one stream, by which a message says the progress of many requests in arrays. */
import { GrantColumns, ProgressColumns } from "../gen/tallygate/metering/v1/columns.js";
import { ReportPhase, TokenReport } from "../gen/tallygate/metering/v1/report.js";
import type { MeteredRequest } from "./tallygate.js";

const TOKENS_MAX = 100_000_000n;

/** A request's handle, and the number of the report that bound it. */
export interface Binding {
  handle: number;
  sequence: number;
}

export class Columns {
  /** The greatest handle; zero if the node takes no columns. */
  handlesMax = 0;
  /** By handle; they count from 1. */
  readonly #bound: (MeteredRequest | undefined)[] = [undefined];
  readonly #free: number[] = [];

  /** Binds a request by the report that is about to be sent, if there is a handle to be had. */
  bind(request: MeteredRequest, report: TokenReport, sequence: number): void {
    if (request.binding || report.phase === ReportPhase.REPORT_PHASE_FINISH) return;
    const handle = this.#free.pop() ?? this.#bound.length;
    if (handle > this.handlesMax) return;
    this.#bound[handle] = request;
    request.binding = { handle, sequence };
    report.handle = handle;
  }

  /** Takes back the handle of a request of which nothing more is said. */
  release(request: MeteredRequest): void {
    if (!request.binding) return;
    this.#bound[request.binding.handle] = undefined;
    this.#free.push(request.binding.handle);
    request.binding = undefined;
  }

  /** Takes in grants that answer entries. They are valid as all grants of the stream are. */
  raise({ sequences, handles, outputCeilingTokens, resume }: GrantColumns): void {
    sequences.forEach((sequence, index) => {
      const request = this.#bound[handles[index]!];
      // An entry that left before the handle was bound to this request spoke of another one.
      if (!request?.grant || Number(sequence) <= request.binding!.sequence) return;
      const ceiling = outputCeilingTokens[index]!;
      if (ceiling > request.grant.ceiling) {
        request.grant = { ...request.grant, ceiling, isFinal: false, resume: resume[index]! };
      }
    });
  }
}

/** Whether an entry may speak of a request: its handle is bound, and it says progress that was not denied. */
export function isByEntry({ binding, denial, phase, usage }: MeteredRequest, answeredThrough: number): boolean {
  const isBound = binding !== undefined && binding.sequence <= answeredThrough;
  const isProgress = phase === ReportPhase.REPORT_PHASE_PROGRESS && denial === undefined;
  return isBound && isProgress && usage.outputTokens + usage.reasoningTokens <= TOKENS_MAX;
}

/** The entries of these requests, in this order: that of their handles. */
export function newColumns(requests: readonly MeteredRequest[]): ProgressColumns | undefined {
  if (requests.length === 0) return undefined;
  const reasoningTokens = requests.map(({ usage }) => Number(usage.reasoningTokens));
  return {
    handles: requests.map(({ binding }) => binding!.handle),
    outputTokens: requests.map(({ usage }) => Number(usage.outputTokens)),
    reasoningTokens: reasoningTokens.some((tokens) => tokens > 0) ? reasoningTokens : [], // as said before: none
  };
}
