create table {p}migrations (
  version integer primary key,
  applied_at timestamptz not null default now()
);

-- One row for each delivery (svix-id) that is worked on, has failed, or was
-- finished not long ago.
create table {p}deliveries (
  id text collate "C" primary key,
  event_type text not null,
  entity text not null,      -- what the event is about; empty for none
  attempt integer not null,  -- the last claim; an older one can't save
  outcome text not null,     -- of the last attempt; empty while it goes on
  received_at timestamptz,   -- on the clock of the process; all others on this server's
  first_at timestamptz not null,
  claimed_at timestamptz not null,
  lease_until timestamptz,   -- null when nobody has it
  open_since timestamptz,    -- the first of the attempts that never saved anything
  finished_at timestamptz,
  format smallint not null,  -- of steps
  steps text not null        -- JSON; empty for none
);
create index {i}deliveries_finished on {p}deliveries (finished_at) where finished_at is not null;
create index {i}deliveries_open on {p}deliveries (claimed_at) where finished_at is null;

-- What is left of a finished delivery after a while.
create table {p}ids (
  id text collate "C" primary key,
  finished_at timestamptz not null
);
create index {i}ids_finished on {p}ids (finished_at);

-- The newest state of each user, organization and membership, kept for good.
create table {p}entities (
  key text collate "C" primary key,
  gone boolean not null default false,
  state text
);

-- Who has which entity. A row that is left behind by a crash tells the next one
-- that its last holder never gave it back.
create table {p}leases (
  entity text collate "C" primary key,
  delivery text not null,
  attempt integer not null,
  claimed_at timestamptz not null,
  lease_until timestamptz not null
);

-- Takes the locks of a transaction, before anything else. All that is read
-- afterwards is as the last holders of these locks left it, which is so at this
-- isolation level only. The ids come in order, so that no two transactions wait for
-- each other. Keys are looked up one by one: for a list of them, PostgreSQL would
-- make a new plan each time, which takes longer than all the rest, or keep one that
-- reads a whole table.

create function {p}lock_1(p_locks bigint[], p_exclusive boolean[]) returns void
language plpgsql as $function$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'the ledger needs transactions that are read committed, not %', current_setting('transaction_isolation');
  end if;
  for i in 1 .. cardinality(p_locks) loop
    if p_exclusive[i] then
      perform pg_advisory_xact_lock(p_locks[i]);
    else
      perform pg_advisory_xact_lock_shared(p_locks[i]);
    end if;
  end loop;
end
$function$;

-- One claim, with its locks taken.
-- o_status: 0 busy, 1 granted, 2 finished, 3 has steps of a newer format.
-- Durations are in microseconds.
create function {p}claim_1(
  p_delivery text, p_event_type text, p_received_at timestamptz, p_lease bigint, p_retention bigint, p_format integer,
  p_entities text[], p_reads text[], p_bury text,
  out o_status integer, out o_wait bigint, out o_attempt integer, out o_now timestamptz, out o_open_since timestamptz,
  out o_forgotten boolean, out o_steps text, out o_entities text
)
language plpgsql as $function$
declare
  d {p}deliveries%rowtype;
  e {p}entities%rowtype;
  l {p}leases%rowtype;
  k text;
  v_until timestamptz;
  v_latest timestamptz;
begin
  o_now := clock_timestamp();
  select * into d from {p}deliveries where id = p_delivery;
  if d.finished_at > o_now - p_retention * interval '1 microsecond' then
    o_status := 2;
    o_attempt := d.attempt;
    return;
  end if;
  if d.format > p_format then
    o_status := 3;
    return;
  end if;

  -- A lease that was given in the future was given before the clock was set
  -- back. It has ended, or it would last for too long.
  v_latest := o_now + interval '1 second';
  if d.lease_until > o_now and d.claimed_at <= v_latest then
    v_until := d.lease_until;
  end if;
  if p_bury <> '' then
    insert into {p}entities as t (key, gone) values (p_bury, true)
      on conflict (key) do update set gone = true where not t.gone;
    -- The character after the slash is the zero: this is all that begins with p_bury/.
    v_until := least(v_until, (select min(lease_until) from {p}leases
      where entity >= p_bury || '/' and entity < p_bury || '0' and lease_until > o_now and claimed_at <= v_latest));
  end if;
  foreach k in array p_entities || p_reads loop
    select * into e from {p}entities where key = k;
    l := null;
    if k = any (p_entities) then
      select * into l from {p}leases where entity = k;
      if l.lease_until > o_now and l.claimed_at <= v_latest then
        v_until := least(v_until, l.lease_until);
      end if;
    end if;
    o_entities := concat_ws(',', o_entities, json_build_object(
      'key', k, 'gone', coalesce(e.gone, false), 'state', e.state, 'crashed', l.entity is not null));
  end loop;
  if v_until is not null then
    o_status := 0;
    o_wait := extract(epoch from v_until - o_now) * 1000000;
    o_entities := null;
    return;
  end if;
  o_entities := '[' || o_entities || ']';

  if d.finished_at is not null then
    -- What a clean-up would have done. If one does it now, wait for it.
    perform from {p}deliveries where id = p_delivery for update;
    insert into {p}ids (id, finished_at) values (p_delivery, d.finished_at)
      on conflict (id) do update set finished_at = excluded.finished_at;
    d.steps := '';
  end if;
  o_status := 1;
  o_attempt := coalesce(d.attempt, 0) + 1;
  o_open_since := d.open_since;
  o_steps := coalesce(d.steps, '');
  o_forgotten := exists (select from {p}ids where id = p_delivery);
  v_until := o_now + p_lease * interval '1 microsecond';
  insert into {p}deliveries (id, event_type, entity, attempt, outcome, received_at,
      first_at, claimed_at, lease_until, open_since, finished_at, format, steps)
    values (p_delivery, p_event_type, coalesce(p_entities[1], ''), o_attempt, '', p_received_at,
      o_now, o_now, v_until, coalesce(d.open_since, o_now), null, coalesce(d.format, p_format), o_steps)
    on conflict (id) do update set attempt = excluded.attempt, outcome = excluded.outcome, claimed_at = excluded.claimed_at,
      lease_until = excluded.lease_until, open_since = excluded.open_since, finished_at = excluded.finished_at, steps = excluded.steps;
  foreach k in array p_entities loop
    insert into {p}leases (entity, delivery, attempt, claimed_at, lease_until) values (k, p_delivery, o_attempt, o_now, v_until)
      on conflict (entity) do update set delivery = excluded.delivery, attempt = excluded.attempt,
        claimed_at = excluded.claimed_at, lease_until = excluded.lease_until;
  end loop;
end
$function$;

-- One save, with its locks taken. False when the claim is lost.
create function {p}save_1(
  p_delivery text, p_attempt integer, p_outcome text, p_finished boolean, p_open_since timestamptz, p_format integer, p_steps text,
  p_held text[], p_keys text[], p_states text[]
) returns boolean
language plpgsql as $function$
declare
  k text;
begin
  foreach k in array p_held loop
    perform from {p}leases where entity = k and delivery = p_delivery and attempt = p_attempt;
    if not found then
      return false;
    end if;
  end loop;
  update {p}deliveries
    set outcome = p_outcome, format = p_format, steps = p_steps, open_since = p_open_since,
      lease_until = case when p_outcome = '' then lease_until end,
      finished_at = case when p_finished then clock_timestamp() end
    where id = p_delivery and attempt = p_attempt and lease_until is not null;
  if not found then
    return false;
  end if;
  for i in 1 .. cardinality(p_keys) loop
    insert into {p}entities (key, state) values (p_keys[i], p_states[i]) on conflict (key) do update set state = excluded.state;
  end loop;
  if p_outcome <> '' then
    foreach k in array p_held loop
      delete from {p}leases where entity = k;
    end loop;
  end if;
  return true;
end
$function$;

-- Claims of several deliveries, with one answer for each in their order. The lists
-- of keys are written as text, as arrays of arrays have to be rectangular.
create function {p}claims_1(
  p_deliveries text[], p_event_types text[], p_received_at text[], p_leases bigint[], p_retention bigint, p_format integer,
  p_entities text[], p_reads text[], p_bury text[], p_locks bigint[], p_exclusive boolean[]
) returns table (
  o_status integer, o_wait bigint, o_attempt integer, o_now timestamptz, o_open_since timestamptz,
  o_forgotten boolean, o_steps text, o_entities text
)
language plpgsql as $function$
begin
  perform {p}lock_1(p_locks, p_exclusive);
  for i in 1 .. cardinality(p_deliveries) loop
    return query select * from {p}claim_1(p_deliveries[i], p_event_types[i], nullif(p_received_at[i], '')::timestamptz, p_leases[i],
      p_retention, p_format, p_entities[i]::text[], p_reads[i]::text[], p_bury[i]);
  end loop;
end
$function$;

-- Saves of several deliveries, likewise.
create function {p}saves_1(
  p_deliveries text[], p_attempts integer[], p_outcomes text[], p_finished boolean[], p_open_since text[], p_format integer,
  p_steps text[], p_held text[], p_keys text[], p_states text[], p_locks bigint[], p_exclusive boolean[]
) returns setof boolean
language plpgsql as $function$
begin
  perform {p}lock_1(p_locks, p_exclusive);
  for i in 1 .. cardinality(p_deliveries) loop
    return next {p}save_1(p_deliveries[i], p_attempts[i], p_outcomes[i], p_finished[i], nullif(p_open_since[i], '')::timestamptz,
      p_format, p_steps[i], p_held[i]::text[], p_keys[i]::text[], p_states[i]::text[]);
  end loop;
end
$function$;
