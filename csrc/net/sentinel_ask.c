/*
** sentinel_ask.c - rounds of questions: one Sentinel after the other, each on a connection of its own.
**
** A round serves who waits for an answer (it ends with the first good one) or the watch (all are asked and compared),
** and may change from the second to the first. Votes that name the address to be avoided are kept as the last resort.
** Invariant: in a round either `asker` is open or the timer runs. Threads: the loop's.
*/
#include "net/sentinel_impl.h"

static void ask_next(dsc_sentinel *s);

/* ---- what the round comes to */

static const dsc_sentinel_vote *first_good(const dsc_sentinel *s) {
  for (size_t i = 0; i < s->n_votes; i++)
    if (!s->avoid.port || !dsc_sentinel_same(&s->votes[i].master, &s->avoid)) return &s->votes[i];
  return NULL;
}

static void explain(const dsc_sentinel *s, dsc_sentinel_answer *answer, dsc_why *why) {
  bool unknown = s->n_unknown > 0;
  answer->err = unknown ? DSC_EREGISTRY : DSC_ECONNECT;
  answer->denied = !unknown && s->n_denied > 0;
  if (unknown) {
    dsc_fail(why, answer->err, "no Sentinel knows a master named %s (%zu of %zu answered)", s->master, s->n_unknown,
             s->n_asked);
  } else {
    dsc_fail(why, answer->err, "no Sentinel answers; the last of %zu was %s", s->n_asked, s->why.text);
  }
  answer->why = why->text;
}

static void tell_answer(dsc_sentinel *s) {
  const dsc_sentinel_vote *vote = first_good(s);
  dsc_sentinel_answer answer = {.why = ""};
  dsc_why why;
  if (!vote && s->n_votes > 0) vote = &s->votes[0];
  s->wanted = false;
  if (vote) {
    answer.master = &vote->master;
    dsc_sentinel_watch_begin(s);
  } else {
    explain(s, &answer, &why);
  }
  s->events.on_answer(s->events.ud, &answer);
}

/* Who was elected later counts more than what most say: the news goes from one Sentinel to the others. */
static bool is_better(const dsc_sentinel_vote *vote, const dsc_sentinel_vote *than) {
  return vote->epoch != than->epoch ? vote->epoch > than->epoch : vote->count > than->count;
}

/* One Sentinel that is behind the others does not decide. */
static void tell_switch(dsc_sentinel *s) {
  dsc_sentinel_vote best = {.count = 0};
  if (!s->settled.port || s->outdated) return;
  for (size_t i = 0; i < s->n_votes; i++) {
    bool first = best.count == 0;
    bool is_settled = dsc_sentinel_same(&s->votes[i].master, &s->settled); /* stays when it is as good */
    if (first || is_better(&s->votes[i], &best) || (is_settled && !is_better(&best, &s->votes[i]))) best = s->votes[i];
  }
  if (best.count == 0 || dsc_sentinel_same(&best.master, &s->settled)) return;
  s->events.on_switch(s->events.ud, &best.master);
}

static void end_round(dsc_sentinel *s) {
  s->is_asking = false;
  if (s->wanted) {
    tell_answer(s);
  } else {
    tell_switch(s);
  }
}

/* ---- one Sentinel */

static void add_vote(dsc_sentinel *s, const dsc_addr *master, int64_t epoch) {
  size_t i = 0;
  while (i < s->n_votes && !dsc_sentinel_same(&s->votes[i].master, master)) i++;
  if (i == DSC_SENTINEL_MAX) return;
  if (i == s->n_votes) s->votes[s->n_votes++] = (dsc_sentinel_vote){.master = *master};
  s->votes[i].count++;
  if (epoch > s->votes[i].epoch) s->votes[i].epoch = epoch;
}

static dsc_str field_of(const dsc_redis_reply *map, const char *name) {
  for (size_t i = 0; i + 1 < map->count; i += 2) {
    const dsc_redis_reply *key = map->items[i], *value = map->items[i + 1];
    if (key->type == DSC_REDIS_STRING && value->type == DSC_REDIS_STRING && dsc_str_equal(key->str, dsc_str_of(name)))
      return value->str;
  }
  return DSC_STR_LITERAL("");
}

static void learn(dsc_sentinel *s, const dsc_redis_reply *list) {
  dsc_addr addr;
  if (list->type != DSC_REDIS_ARRAY) return; /* an error: this user may not ask for that */
  for (size_t i = 0; i < list->count; i++) {
    const dsc_redis_reply *map = list->items[i];
    if (map->type != DSC_REDIS_ARRAY) continue;
    dsc_str flags = field_of(map, "flags");
    if (flags.n > 0 && memmem(flags.p, flags.n, "s_down", 6)) continue;
    if (dsc_sentinel_read_addr(&addr, field_of(map, "ip"), field_of(map, "port"))) dsc_sentinel_learn(s, &addr);
  }
}

/* What SENTINEL MASTER says of the election; an error is none: this user may not ask for that. */
static int64_t epoch_of(const dsc_redis_reply *map) {
  int64_t epoch = 0;
  if (map->type == DSC_REDIS_ARRAY) dsc_str_to_int(field_of(map, "config-epoch"), &epoch);
  return epoch;
}

static bool is_right_missing(dsc_str text) {
  return dsc_str_starts(text, DSC_STR_LITERAL("NOPERM")) || dsc_str_starts(text, DSC_STR_LITERAL("NOAUTH"));
}

/* The answer to get-master-addr-by-name: null, or host and port. */
static void judge(dsc_sentinel *s, const dsc_redis_reply *reply, int64_t epoch) {
  dsc_addr addr;
  bool is_pair = reply->type == DSC_REDIS_ARRAY && reply->count == 2 && reply->items[0]->type == DSC_REDIS_STRING &&
                 reply->items[1]->type == DSC_REDIS_STRING;
  if (reply->type == DSC_REDIS_NIL) {
    s->said = DSC_SENTINEL_SAID_UNKNOWN;
  } else if (is_pair && dsc_sentinel_read_addr(&addr, reply->items[0]->str, reply->items[1]->str)) {
    s->said = DSC_SENTINEL_SAID_MASTER;
    add_vote(s, &addr, epoch);
  } else if (reply->type == DSC_REDIS_ERROR) {
    s->has_denied = is_right_missing(reply->str);
    dsc_fail(&s->why, DSC_EREGISTRY, "%s: %s", s->asked.text, reply->str.p);
  } else {
    dsc_fail(&s->why, DSC_EPROTOCOL, "%s: an odd reply", s->asked.text);
  }
}

static void on_reply(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  dsc_sentinel *s = ud;
  (void)why;
  (void)n;
  if (err || s->closing) return; /* on_down() tells why */
  judge(s, replies[0], epoch_of(replies[1]));
  if (s->said == DSC_SENTINEL_SAID_MASTER) learn(s, replies[2]);
  dsc_redis_conn_close(s->asker);
}

static void on_ready(void *ud) {
  dsc_sentinel *s = ud;
  dsc_str name = dsc_str_of(s->master), word = DSC_STR_LITERAL("SENTINEL");
  dsc_redis_command commands[] = {{3, (dsc_str[]){word, DSC_STR_LITERAL("get-master-addr-by-name"), name}},
                                  {3, (dsc_str[]){word, DSC_STR_LITERAL("master"), name}},
                                  {3, (dsc_str[]){word, DSC_STR_LITERAL("sentinels"), name}}};
  if (s->closing || dsc_redis_conn_send(s->asker, commands, 3, on_reply, s) == DSC_OK) return;
  dsc_redis_conn_close(s->asker);
}

/* One has been asked: go on with the next one, or end the round. */
static void step(dsc_sentinel *s) {
  s->n_asked++;
  s->n_unknown += s->said == DSC_SENTINEL_SAID_UNKNOWN;
  s->n_denied += s->has_denied;
  if (s->said == DSC_SENTINEL_SAID_NOTHING) dsc_sentinel_forget(s, &s->asked);
  if (s->wanted && s->said == DSC_SENTINEL_SAID_MASTER && first_good(s)) dsc_sentinel_move(s, &s->asked, true);
  if (s->wanted && first_good(s)) {
    end_round(s);
  } else {
    ask_next(s);
  }
}

static void on_down(void *ud, dsc_redis_down down, const char *why) {
  dsc_sentinel *s = ud;
  s->asker = NULL;
  dsc_timer_stop(s->patience);
  if (s->closing) return;
  if (down == DSC_REDIS_DOWN_DENIED) s->has_denied = true;
  if (down != DSC_REDIS_DOWN_CLOSED) dsc_fail(&s->why, DSC_ECONNECT, "%s: %s", s->asked.text, why);
  step(s);
}

void dsc_sentinel_on_patience(void *ud) {
  dsc_sentinel *s = ud;
  if (s->asker) {
    dsc_fail(&s->why, DSC_ETIMEOUT, "%s: no answer within %u ms", s->asked.text, s->patience_ms);
    dsc_redis_conn_close(s->asker);
  } else {
    step(s);
  }
}

static void ask_next(dsc_sentinel *s) {
  dsc_redis_conn_events events = {s, on_ready, NULL, on_down};
  size_t i = 0;
  while (i < s->n_entries && s->entries[i].round == s->round) i++;
  if (i == s->n_entries) {
    end_round(s);
    return;
  }
  s->entries[i].round = s->round;
  s->asked = s->entries[i].addr;
  s->said = DSC_SENTINEL_SAID_NOTHING;
  s->has_denied = false;
  s->asker = dsc_sentinel_open(s, &s->asked, false, &events);
  if (!s->asker) dsc_fail(&s->why, DSC_ENOMEM, "%s: %s", s->asked.text, dsc_err_text(DSC_ENOMEM));
  dsc_timer_start(s->patience, s->asker ? s->patience_ms : 1);
}

static void begin_round(dsc_sentinel *s) {
  s->is_asking = true;
  s->outdated = false;
  s->round++;
  s->n_votes = s->n_asked = s->n_unknown = s->n_denied = 0;
  s->why.text[0] = '\0';
  ask_next(s);
}

/* ---- beginning */

void dsc_sentinel_ask(dsc_sentinel *s, const dsc_addr *avoid) {
  if (s->closing) return;
  s->wanted = true;
  s->avoid.port = 0;
  if (avoid) s->avoid = *avoid;
  if (!s->is_asking) begin_round(s);
}

void dsc_sentinel_compare(dsc_sentinel *s) {
  if (!s->is_asking) begin_round(s);
}
