/**
 * A client for Tallygate's Meter stream: one Meter per server process, many requests in it.
 *
 * It says reports in time, and when the stream breaks it goes on with the next address and says again whatever is not
 * durable yet. All counts are cumulative.
 */
import { EventEmitter, once } from "node:events";
import { setTimeout as wait } from "node:timers/promises";
import { promisify } from "node:util";

import { type ClientDuplexStream } from "@grpc/grpc-js";

import { Duration } from "../gen/google/protobuf/duration.js";
import { Decision, DecisionReason, Verdict } from "../gen/tallygate/metering/v1/decision.js";
import { MeterRequest, MeterResponse, MeteringServiceClient } from "../gen/tallygate/metering/v1/metering_service.js";
import { Receipt } from "../gen/tallygate/metering/v1/receipt.js";
import { ReportPhase, TokenReport } from "../gen/tallygate/metering/v1/report.js";
import { TokenUsage } from "../gen/tallygate/metering/v1/token_usage.js";
import { type Binding, Columns, isByEntry, newColumns } from "./columns.js";
import { callMetadata, channelCredentials, type Security } from "./security.js";

const HEARTBEAT_MS = 1_000;
const SILENCE_MS = HEARTBEAT_MS + 1_000;
const ANSWER_MS = 5_000;
const BACKOFF_BASE_MS = 50;
const BACKOFF_MAX_MS = 2_000;
const REPORTS_PER_MESSAGE_MAX = 1_024;

/** Answers to a finish which say that its counts were not taken. Others only say that the service may not go on. */
const NOT_TAKEN = new Set([
  DecisionReason.DECISION_REASON_INVALID_REPORT,
  DecisionReason.DECISION_REASON_REQUEST_ID_REUSED,
  DecisionReason.DECISION_REASON_TOO_OLD,
  DecisionReason.DECISION_REASON_UNKNOWN_SERVICE,
]);

/** A metering node said no. */
export class Denied extends Error {
  readonly reason: string;
  readonly retryable: boolean;
  readonly retryAfterMs: number;

  constructor(decision: Decision) {
    super(decision.message);
    const name: string | undefined = DecisionReason[decision.reason]; // none if it is newer than this client
    this.reason = name?.replace("DECISION_REASON_", "") ?? `REASON_${decision.reason}`;
    this.retryable = decision.retryable;
    this.retryAfterMs = milliseconds(decision.retryAfter);
  }
}

/** No metering node answered in time: nothing is known, which is not the same as no. */
export class Unreachable extends Error {}

interface Grant {
  ceiling: number;
  isFinal: boolean;
  validUntilMs: number;
  resume: Uint8Array;
}

export interface Question {
  /** `accounts/{account}/services/{service}`. */
  service: string;
  /** Unique within the service for ever. */
  requestId: string;
  usage: Partial<TokenUsage>;
  maxOutputTokens?: bigint;
  labels?: Record<string, string>;
}

/** One request, from its authorisation to its finish. */
export class MeteredRequest {
  readonly usage: TokenUsage;
  phase = ReportPhase.REPORT_PHASE_AUTHORIZE;
  estimated = false;
  grant?: Grant;
  /** Set, at any moment, once it must stop. */
  denial?: Denied;
  finishDenial?: Denied;
  receipt?: Receipt;
  durable = false;
  everSent = false;
  /** Of the present stream: whether the request was introduced, its first report's number and its latest one's. */
  introduced = false;
  firstSequence = 0;
  lastSequence = 0;
  /** Of the present stream, once a report has bound it to a handle. */
  binding?: Binding;
  #saidCeiling = 0;
  #saidOutput = -1;

  constructor(
    private readonly meter: Meter,
    private readonly question: Question,
  ) {
    this.usage = TokenUsage.fromPartial(question.usage);
  }

  get requestId(): string {
    return this.question.requestId;
  }

  /** How many more output tokens may be generated now: none at the ceiling, after a stop, or if the grant ran out. */
  get freeTokens(): number {
    if (this.denial || !this.grant || this.meter.isExpired(this)) return 0;
    return Math.max(0, this.grant.ceiling - this.#output);
  }

  /**
   * Takes in how much was generated so far, and returns whether to go on. Waits only if nothing is free right now.
   * False: stop generating and finish; `denial` says why unless the last grant was used up. Throws Unreachable when
   * there is no answer in time: stop and finish as well.
   */
  async progress(outputTokens: number, reasoningTokens = 0): Promise<boolean> {
    this.usage.outputTokens = BigInt(outputTokens);
    this.usage.reasoningTokens = BigInt(reasoningTokens);
    const grant = this.grant;
    if (grant && !grant.isFinal && grant.ceiling > this.#saidCeiling && 2 * this.#output > grant.ceiling) this.#say();
    if (this.freeTokens > 0) return true;
    if (this.#ended) return false;
    if (this.#saidOutput !== this.#output || this.meter.isAnswered(this)) this.#say();
    await this.meter.until(() => this.freeTokens > 0 || this.#ended || this.meter.isAnswered(this));
    return this.freeTokens > 0;
  }

  /**
   * Says the final counts and waits until they are durable. Throws Denied if they were not taken, and Unreachable when
   * there is no answer in time; they are then still said until they are durable, or the process ends.
   */
  async finish(usage: Partial<TokenUsage> = {}, estimated = false): Promise<Receipt | undefined> {
    Object.assign(this.usage, usage);
    this.phase = ReportPhase.REPORT_PHASE_FINISH;
    this.estimated = estimated;
    this.meter.say(this);
    await this.meter.until(() => this.durable);
    if (this.finishDenial) throw this.finishDenial;
    return this.receipt;
  }

  /** The latest report. The first one on a stream introduces the request and brings its last grant along. */
  report(): TokenReport {
    const { requestId, phase, usage, estimated } = this;
    const wantReceipt = phase === ReportPhase.REPORT_PHASE_FINISH;
    const introduction = this.introduced ? {} : { ...this.question, resume: this.grant?.resume };
    this.introduced = true;
    return TokenReport.fromPartial({ ...introduction, requestId, phase, usage, estimated, wantReceipt });
  }

  /** What a grant's ceiling counts. */
  get #output(): number {
    return Number(this.usage.outputTokens + this.usage.reasoningTokens);
  }

  /** Whether no answer can change anything any more. */
  get #ended(): boolean {
    return this.denial !== undefined || !this.grant || (this.grant.isFinal && this.#output >= this.grant.ceiling);
  }

  #say(): void {
    this.phase = ReportPhase.REPORT_PHASE_PROGRESS;
    this.#saidOutput = this.#output;
    this.#saidCeiling = this.grant?.ceiling ?? 0;
    this.meter.say(this);
  }
}

/** A message that is not answered yet. */
interface Sent {
  first: number;
  through: number;
  atMs: number;
  heartbeat: boolean;
}

/** The stream and the requests in it. */
export class Meter {
  readonly #addresses: readonly string[];
  readonly #open = new Map<string, MeteredRequest>();
  readonly #toSay = new Set<MeteredRequest>();
  readonly #news = new EventEmitter().setMaxListeners(0);
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;
  #trouble = "no attempt was made";
  // Of the present stream:
  #call?: ClientDuplexStream<MeterRequest, MeterResponse>;
  #full = false;
  #scheduled = false;
  #numbered = 0;
  #answeredThrough = 0;
  #durableThrough = 0;
  #renewedUntilMs = 0;
  #sent: Sent[] = [];
  #finishes: MeteredRequest[] = [];
  #columns = new Columns();

  /** Begins to connect; `addresses` are `HOST:PORT`, of any number of metering nodes. */
  constructor(
    addresses: readonly string[],
    private readonly security: Security = {},
  ) {
    this.#addresses = addresses;
    this.#running = this.#run();
  }

  /** Asks whether a request may run. Throws Denied or Unreachable; then nothing remains held for it. */
  async authorize(question: Question): Promise<MeteredRequest> {
    if (this.#open.has(question.requestId)) throw new Error(`request ${question.requestId} is open already`);
    const request = new MeteredRequest(this, question);
    this.#open.set(question.requestId, request);
    this.say(request);
    try {
      await this.until(() => request.grant !== undefined || request.denial !== undefined);
      if (request.denial) throw request.denial;
      return request;
    } catch (error) {
      this.#withdraw(request);
      throw error;
    }
  }

  /** Waits until every finish is durable, then hangs up. */
  async close(): Promise<void> {
    const finished = [...this.#open.values()].filter(({ phase }) => phase === ReportPhase.REPORT_PHASE_FINISH);
    try {
      await this.until(() => finished.every(({ durable }) => durable));
    } finally {
      this.#closing.abort();
      this.#call?.cancel();
      await this.#running;
    }
  }

  /** Says the latest of a request in the next message; what is said in one turn of the event loop leaves together. */
  say(request: MeteredRequest): void {
    this.#toSay.add(request);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  /** Waits for what only a node's answer can bring about. */
  async until(done: () => boolean): Promise<void> {
    const signal = AbortSignal.timeout(ANSWER_MS);
    while (!done()) {
      try {
        await once(this.#news, "news", { signal });
      } catch {
        throw new Unreachable(`no answer in ${ANSWER_MS} ms from ${this.#addresses.join(", ")}: ${this.#trouble}`);
      }
    }
  }

  /** Whether everything said of a request was sent and answered. */
  isAnswered(request: MeteredRequest): boolean {
    return !this.#toSay.has(request) && 0 < request.lastSequence && request.lastSequence <= this.#answeredThrough;
  }

  /** Whether neither the grant's own validity nor the stream's renewal of all grants carries it any longer. */
  isExpired({ grant, firstSequence }: MeteredRequest): boolean {
    const renewedUntilMs = 0 < firstSequence && firstSequence <= this.#answeredThrough ? this.#renewedUntilMs : 0;
    return performance.now() >= Math.max(grant?.validUntilMs ?? 0, renewedUntilMs);
  }

  #withdraw(request: MeteredRequest): void {
    if (request.denial || !request.everSent) {
      this.#open.delete(request.requestId);
      this.#toSay.delete(request);
      this.#columns.release(request);
      return;
    }
    // It may have been allowed: give back what is held for it.
    Object.assign(request.usage, TokenUsage.fromPartial({}));
    request.phase = ReportPhase.REPORT_PHASE_FINISH;
    this.say(request);
  }

  async #run(): Promise<void> {
    let failures = 0;
    for (let turn = 0; !this.#closing.signal.aborted; turn++) {
      this.#restart();
      const heard = await this.#stream(this.#addresses[turn % this.#addresses.length]!);
      failures = heard ? 0 : failures + 1;
      const backoffMs = Math.random() * Math.min(BACKOFF_MAX_MS, BACKOFF_BASE_MS * 2 ** failures);
      await wait(backoffMs, undefined, { signal: this.#closing.signal }).catch(() => {});
    }
  }

  /** A new stream: numbers start again, and the latest of every open request is said anew. */
  #restart(): void {
    this.#numbered = this.#answeredThrough = this.#durableThrough = this.#renewedUntilMs = 0;
    this.#sent = [];
    this.#finishes = [];
    this.#full = false;
    this.#columns = new Columns();
    this.#toSay.clear();
    for (const request of this.#open.values()) {
      request.introduced = false;
      request.binding = undefined;
      request.firstSequence = request.lastSequence = 0;
      this.#toSay.add(request);
    }
  }

  /** One stream, until it breaks; returns whether the node said anything. */
  async #stream(address: string): Promise<boolean> {
    const heartbeat = setInterval(() => this.#flush(true), HEARTBEAT_MS);
    let client: MeteringServiceClient | undefined;
    let silence: NodeJS.Timeout | undefined;
    let heard = false;
    try {
      client = new MeteringServiceClient(address, channelCredentials(this.security));
      await promisify(client.waitForReady).call(client, Date.now() + SILENCE_MS);
      const call = client.meter(callMetadata(this.security, address));
      silence = setTimeout(() => call.cancel(), SILENCE_MS);
      this.#call = call;
      this.#flush(true);
      for await (const response of call as AsyncIterable<MeterResponse>) {
        heard = true;
        silence.refresh();
        this.#receive(response);
      }
      this.#trouble = `${address} ended the stream`;
    } catch (error) {
      this.#trouble = `${address}: ${error instanceof Error ? error.message : String(error)}`;
    } finally {
      this.#call?.cancel();
      this.#call = undefined;
      clearInterval(heartbeat);
      clearTimeout(silence);
      client?.close();
    }
    return heard;
  }

  #flush(heartbeat = false): void {
    while (this.#call && !this.#full && (this.#toSay.size > 0 || heartbeat)) {
      const first = this.#numbered + 1;
      const requests = [...this.#toSay].slice(0, REPORTS_PER_MESSAGE_MAX);
      const isEntry = new Map(requests.map((request) => [request, isByEntry(request, this.#answeredThrough)]));
      const entries = requests.filter((request) => isEntry.get(request));
      entries.sort((one, other) => one.binding!.handle - other.binding!.handle);
      // Entries of columns are numbered before reports.
      for (const request of entries) this.#number(request);
      const reports = requests.filter((request) => !isEntry.get(request)).map((request) => this.#report(request));
      this.#sent.push({ first, through: this.#numbered, atMs: performance.now(), heartbeat: requests.length === 0 });
      const call = this.#call;
      this.#full = !call.write({ firstSequence: BigInt(first), columns: newColumns(entries), reports });
      if (this.#full) call.once("drain", () => this.#drained(call));
      heartbeat = false;
    }
  }

  #drained(call: ClientDuplexStream<MeterRequest, MeterResponse>): void {
    if (this.#call !== call) return;
    this.#full = false;
    this.#flush();
  }

  #report(request: MeteredRequest): TokenReport {
    this.#number(request);
    const report = request.report();
    this.#columns.bind(request, report, this.#numbered);
    return report;
  }

  #number(request: MeteredRequest): void {
    this.#toSay.delete(request);
    this.#numbered += 1;
    request.everSent = true;
    request.firstSequence ||= this.#numbered;
    request.lastSequence = this.#numbered;
    if (request.phase === ReportPhase.REPORT_PHASE_FINISH) this.#finishes.push(request);
  }

  #receive(response: MeterResponse): void {
    this.#columns.handlesMax ||= response.columnsHandlesMax;
    for (const decision of response.decisions) {
      const request = this.#open.get(decision.requestId);
      if (request) this.#decide(request, decision);
    }
    if (response.grants) this.#columns.raise(response.grants);
    this.#answeredThrough = Math.max(this.#answeredThrough, Number(response.answeredThrough));
    this.#durableThrough = Math.max(this.#durableThrough, Number(response.durableThrough));
    while (this.#sent[0] && this.#wasAnswered(this.#sent[0])) {
      const { atMs } = this.#sent.shift()!;
      if (response.grantsValidFor) this.#renewedUntilMs = atMs + milliseconds(response.grantsValidFor);
    }
    while (this.#finishes[0] && this.#finishes[0].lastSequence <= this.#durableThrough) {
      const request = this.#finishes.shift()!;
      request.durable = true;
      this.#columns.release(request);
      this.#open.delete(request.requestId);
    }
    this.#news.emit("news");
  }

  #decide(request: MeteredRequest, decision: Decision): void {
    const isLatest = Number(decision.sequence) === request.lastSequence && !this.#toSay.has(request);
    if (decision.verdict !== Verdict.VERDICT_ALLOW) {
      if (request.phase !== ReportPhase.REPORT_PHASE_FINISH || !isLatest) request.denial = new Denied(decision);
      else if (NOT_TAKEN.has(decision.reason)) request.finishDenial = new Denied(decision);
    } else if (decision.grant) {
      const { outputCeilingTokens, isFinal, validFor, resume } = decision.grant;
      const sequence = Number(decision.sequence);
      const sent = this.#sent.find(({ first, through }) => first <= sequence && sequence <= through);
      const validUntilMs = sent ? sent.atMs + milliseconds(validFor) : 0;
      request.grant = { ceiling: Number(outputCeilingTokens), isFinal, validUntilMs, resume };
    }
    request.receipt = decision.receipt ?? request.receipt;
  }

  /** A heartbeat has no number: what comes soon after it may still answer what went before. */
  #wasAnswered({ through, atMs, heartbeat }: Sent): boolean {
    if (!heartbeat) return through <= this.#answeredThrough;
    if (through < this.#answeredThrough) return true;
    return through === this.#answeredThrough && performance.now() >= atMs + HEARTBEAT_MS;
  }
}

function milliseconds(duration: Duration | undefined): number {
  return duration ? Number(duration.seconds) * 1_000 + duration.nanos / 1_000_000 : 0;
}
