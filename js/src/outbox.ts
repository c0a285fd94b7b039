/** Edits on their way to Python: sent at once, kept until acknowledged, through a page reload too. */

import type { Model, ToPython, WireEdit } from "./model";
import type { Entry, State } from "./state";

/** First and longest wait before unanswered edits are sent again, in milliseconds. */
export const RESEND_FIRST = 5000;
export const RESEND_MOST = 60000;
/** First wait before a question that is not answered is asked again. */
const ASK_FIRST = 1500;

interface Stored {
  /** The page load that wrote it: its own records are not to be claimed. */
  readonly page: string;
  readonly base: number;
  readonly edits: readonly WireEdit[];
}

const page = String(performance.timeOrigin);
/** Clients of this page whose views can still send: what others left may be claimed. */
const live = new Set<string>();
const keyOf = (dataset: string, client: string) => `kpwidget:${dataset}:${client}`;

/** A record as stored; null when it is not one of ours, which must not hide the others. */
function parse(text: string | null): Stored | null {
  try {
    return JSON.parse(text ?? "null") as Stored | null;
  } catch (error) {
    console.warn("kpwidget: a kept record could not be read", error);
    return null;
  }
}

/** A message that is sent again, ever more rarely, until something has come of it. */
interface Kept {
  readonly message: ToPython;
  readonly isAnswered: () => boolean;
  at: number;
  wait: number;
}

export class Outbox {
  private readonly model: Model;
  private readonly client: string;
  private readonly getState: () => State;
  private readonly onLost: () => void;
  /** Highest number sent and acknowledged, per client: our own and the claimed ones. */
  private readonly sent = new Map<string, number>();
  private readonly acked = new Map<string, number>();
  private oldest = 0;
  private resendAt = 0;
  private wait = RESEND_FIRST;
  private kept: Kept[] = [];

  constructor(model: Model, client: string, getState: () => State, events: { onLost: () => void }) {
    this.model = model;
    this.client = client;
    this.getState = getState;
    this.onLost = events.onLost;
    this.acked.set(client, 0);
    live.add(client);
  }

  /** The connection is there again. */
  revive(): void {
    live.add(this.client);
  }

  /** The view is gone, or its kernel: what it has not delivered is for the next view to send. */
  retire(): void {
    live.delete(this.client);
  }

  knows(client: string): boolean {
    return this.acked.has(client);
  }

  /** Whether the kernel has left an edit unanswered for longer than `ms`. */
  isBusy(ms: number): boolean {
    return this.oldest > 0 && performance.now() - this.oldest > ms;
  }

  send(message: ToPython): boolean {
    try {
      this.model.send(message);
      return true;
    } catch {
      // The comm is gone with its kernel; what was to be sent stays here.
      this.retire();
      this.onLost();
      return false;
    }
  }

  /** Sends a message until `isAnswered`: a kernel can drop one. */
  sendUntil(isAnswered: () => boolean, message: ToPython): void {
    this.send(message);
    this.kept.push({ message, isAnswered, at: performance.now() + ASK_FIRST, wait: ASK_FIRST });
  }

  /** Sends what has not been sent yet and stores what has not been acknowledged. */
  flush(): void {
    const state = this.getState();
    const entry = state.pending.at(-1);
    const last = this.sent.get(this.client) ?? 0;
    if (entry && entry.client === this.client && entry.seq > last) {
      const fresh = state.pending.filter((e) => e.client === this.client && e.seq > last);
      if (this.oldest === 0) {
        this.oldest = performance.now();
        this.resendAt = this.oldest + this.wait;
      }
      this.sendEdits(this.client, fresh);
    }
    this.store(this.client);
  }

  private sendEdits(client: string, entries: readonly Entry[]): void {
    const edits = entries.map((entry) => ({ seq: entry.seq, ...entry.body }));
    const base = this.acked.get(client) ?? 0;
    if (this.send({ kind: "edits", client, base, edits }))
      this.sent.set(client, entries.at(-1)?.seq ?? 0);
  }

  /** Everything of `client` up to `seq` is safe. */
  acknowledge(client: string, seq: number): void {
    if (!this.acked.has(client)) return;
    this.acked.set(client, Math.max(seq, this.acked.get(client) ?? 0));
    this.wait = RESEND_FIRST;
    const left = this.unacknowledged().some((e) => e.seq > (this.acked.get(e.client) ?? 0));
    this.oldest = left ? performance.now() : 0;
    this.resendAt = this.oldest + this.wait;
    this.store(client);
  }

  private unacknowledged(): Entry[] {
    return this.getState().pending.filter((entry) => entry.version === null);
  }

  /** Sends unanswered edits again, ever more rarely: Python takes each number once. */
  resendLate(): void {
    this.kept = this.kept.filter((one) => !one.isAnswered());
    for (const one of this.kept) {
      if (performance.now() < one.at || !live.has(this.client)) continue;
      one.wait = Math.min(2 * one.wait, RESEND_MOST);
      one.at = performance.now() + one.wait;
      this.send(one.message);
    }
    if (this.oldest === 0 || performance.now() < this.resendAt) return;
    this.wait = Math.min(2 * this.wait, RESEND_MOST);
    this.resendAt = performance.now() + this.wait;
    const waiting = this.unacknowledged();
    for (const client of new Set(waiting.map((entry) => entry.client)))
      this.sendEdits(
        client,
        waiting.filter((entry) => entry.client === client),
      );
  }

  private store(client: string): void {
    const key = keyOf(this.getState().scene.dataset, client);
    const base = this.acked.get(client) ?? 0;
    const edits = this.getState()
      .pending.filter((e) => e.client === client && e.version === null && e.seq > base)
      .map((entry) => ({ seq: entry.seq, ...entry.body }));
    try {
      if (edits.length === 0) sessionStorage.removeItem(key);
      else sessionStorage.setItem(key, JSON.stringify({ page, base, edits } satisfies Stored));
    } catch (error) {
      // No storage (private mode, quota): a reload would lose what the kernel has not taken yet.
      console.warn("kpwidget: edits cannot be kept through a page reload", error);
    }
  }

  /** Takes over what earlier loads of this page left unacknowledged, and sends it again. */
  claim(dataset: string): Entry[][] {
    const claimed: Entry[][] = [];
    for (const [client, stored] of this.left(dataset)) {
      this.acked.set(client, stored.base);
      live.add(client);
      const entries = stored.edits.map(({ seq, ...body }): Entry => {
        return { client, seq, body: body as Entry["body"], image: -1, effect: null, version: null };
      });
      if (this.oldest === 0) {
        this.oldest = performance.now();
        this.resendAt = this.oldest + this.wait;
      }
      this.sendEdits(client, entries);
      claimed.push(entries);
      try {
        sessionStorage.setItem(keyOf(dataset, client), JSON.stringify({ ...stored, page }));
      } catch (error) {
        // Another view of this page may claim them too: Python takes each number once.
        console.warn("kpwidget: kept edits could not be marked as claimed", error);
      }
    }
    return claimed;
  }

  private left(dataset: string): [string, Stored][] {
    const found: [string, Stored][] = [];
    try {
      const prefix = keyOf(dataset, "");
      for (let i = 0; i < sessionStorage.length; i++) {
        const key = sessionStorage.key(i);
        if (!key?.startsWith(prefix)) continue;
        const stored = parse(sessionStorage.getItem(key));
        if (!stored || !Array.isArray(stored.edits) || stored.edits.length === 0) continue;
        if (stored.page !== page || !live.has(key.slice(prefix.length)))
          found.push([key.slice(prefix.length), stored]);
      }
    } catch (error) {
      console.warn("kpwidget: kept edits could not be read", error);
    }
    return found;
  }
}
