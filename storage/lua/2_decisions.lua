-- Fields of a waiting decision with an id of the caller's own: a is the attempt that wrote it. g is there once an answer
-- was made of it for another attempt. It is not taken back then, whatever became of the first answer.

-- Hands out the decision that a caller's own id names.
-- keys: decision, mark of its withdrawal, log
-- args: id
-- returns {"here", header ("" if only the archive has it)} | {"withdrawn"} | {"none"}
local function claim(keys, args)
  local decision, mark, log = unpack(keys)
  local header = header_of(decision, log, args[1])
  if header then
    redis.call('HSETNX', decision, 'g', '1')
    return { 'here', header }
  end
  return { redis.call('EXISTS', mark) == 1 and 'withdrawn' or 'none' }
end

-- Where the offers begin in the arguments of decide, and how many there are of each.
local FIRST_OFFER, OFFER_FIELDS = 18, 6

-- Whether a history may not be all there. A server that was started since, from an older file, or is a replica that lags
-- behind, has the mark of another. needs_whole: see decide
local function is_lost(whole, needs_whole)
  if needs_whole == '' then return false end
  local mark = redis.call('GET', whole)
  return not mark or (needs_whole ~= '1' and mark ~= needs_whole)
end

-- keys: decision, log, pending, contact, unconfirmed, whole, alias (of visitors alone)
-- args: id, now, until, ttl_ms, history_ms, header, candidates, priors, factors, customer, policy, placement,
--       presentation, confirm until ("" if that is not needed), run id of the server whose history must be whole for offers
--       with limits ("1": of any, "" if it need not be), facts that policies learn from ("" for none), offers, then for
--       each offer: id, number, prior,
--       "<c or t> <group>:<goal> <channel>" (t does not count), checks, "<propensity>:<value>" as they were expected;
--       behind the offers 1 if silence counts as soon as an offer is shown, which attempt at an own id this is ("" for other
--       ids; the same attempt may be told again), 1 if the hash must be one that processes of earlier versions can
--       read, too, the signals that held and last, joined by ",", and the household that reserved the contacts ("" if none)
-- returns {"ok", log id} | {"exists", header ("" if only the archive has it)} | {"limit", offer, ...} | {"lost"} |
--   {"moved", customer} (the visitor is an alias by now)
local function decide(keys, args)
  local decision, log, pending, contact, unconfirmed, whole, alias = unpack(keys)
  local id, now, until_ms, ttl_ms, history_ms, header, candidates, priors, factors, customer, policy, placement,
    presentation, confirm_until, needs_whole, facts, count = unpack(args, 1, 17)
  local behind = FIRST_OFFER + OFFER_FIELDS * tonumber(count)
  local attempt, for_earlier = args[behind + 1] or '', args[behind + 2] == '1'
  local known, known_at = header_of(decision, log, id)
  if known then
    -- Attempts of the same millisecond may have equal headers.
    local is_same = known_at == now and (known == header or known == '') and
      (redis.call('HGET', decision, 'a') or '') == attempt
    if not is_same then redis.call('HSETNX', decision, 'g', '1') end
    return { 'exists', known }
  end
  local to = merged_into(alias)
  if to then return { 'moved', to } end

  local fields, ids, offers, expectations = {}, {}, {}, {}
  local lost = is_lost(whole, needs_whole)
  for i = 1, tonumber(count) do
    local first = FIRST_OFFER + OFFER_FIELDS * (i - 1)
    local offer, number, prior, scope, checks, expected = unpack(args, first, first + 5)
    if lost and checks ~= '' then return { 'lost' } end
    local kept = number .. ' ' .. prior .. ' ' .. scope
    ids[i], offers[i] = offer, parse_offer(kept)
    offers[i].id, offers[i].checks = offer, checks
    fields[#fields + 1] = 'o:' .. offer
    fields[#fields + 1] = kept
    expectations[i] = expected
    if for_earlier then
      fields[#fields + 1] = 'e:' .. offer
      fields[#fields + 1] = expected
    end
  end
  local blocked = stopped(contact, offers, tonumber(now))
  if #blocked > 0 then return { 'limit', unpack(blocked) } end

  local keep_ms = tonumber(history_ms)
  local signals = args[behind + 3] or ''
  if keep_ms > 0 and (#offers > 0 or signals ~= '') then
    redis.call('ZREMRANGEBYSCORE', contact, '-inf', string.format('%.0f', tonumber(now) - keep_ms))
    for _, signal in ipairs(split(signals)) do remember(contact, now, signal_member(signal, id), keep_ms) end
    for _, offer in ipairs(offers) do
      if offer.counts then remember(contact, now, member(offer, 'd', id), keep_ms) end
    end
  end
  local record = { 't', 'decided', 'id', id, 'h', header, 'c', candidates, 'bp', priors }
  if factors ~= '' then record[#record + 1], record[#record + 2] = 'cv', factors end
  local position = redis.call('XADD', log, '*', unpack(record))
  redis.call('HSET', decision, 'cu', customer, 'd', now, 'u', until_ms, 'p', policy, 'pl', placement,
    'm', presentation, 'w', history_ms, 'os', table.concat(ids, ','), unpack(fields))
  if for_earlier then
    redis.call('HSET', decision, 'h', header)
  else
    redis.call('HSET', decision, 'x', position_mark(position, now), unpack(expected_fields(expectations)))
  end
  if facts ~= '' then redis.call('HSET', decision, 'f', facts) end
  if args[behind] == '1' then redis.call('HSET', decision, 'z', '1') end
  if attempt ~= '' then redis.call('HSET', decision, 'a', attempt) end
  if signals ~= '' then redis.call('HSET', decision, 'sg', signals) end
  local household = args[behind + 4] or ''
  if household ~= '' then redis.call('HSET', decision, 'hh', household) end
  redis.call('PEXPIRE', decision, ttl_ms)
  redis.call('ZADD', pending, until_ms, id)
  if confirm_until ~= '' and #offers > 0 then redis.call('ZADD', unconfirmed, confirm_until, id) end
  return { 'ok', position }
end

-- When silence was counted for an offer (ms), "" if it was not: where nobody has to confirm it, with the decision.
-- known: d, m, z and z:<offer> of the waiting decision.
local function silence_of(known, offer)
  if not known.z then return '' end
  return known.m == 'implicit' and known.d or known['z:' .. offer] or ''
end

-- The contact that an outcome is, told of an offer of a decision. In the place of the channel of one that the catalogue
-- declares stands the outcome itself.
local function outcome_member(offer, outcome, id)
  if LETTERED[outcome] then return member(offer, string.sub(outcome, 1, 1), id) end
  return member({ number = offer.number, scope = offer.scope, channel = outcome, counts = offer.counts }, 'o', id)
end

-- The number of arguments of feedback for each outcome.
local OUTCOME_FIELDS = 11

-- Records one outcome: keys and arguments as feedback has them.
local function record_outcome(keys, id, now, offer, outcome, value, occurred_at, skew_ms, worth, reason, causes, suppress_ms)
  local decisions, log, contacts, aliases, handovers = unpack(keys)
  local decision = decisions .. id
  local now_ms, occurred_ms = tonumber(now), tonumber(occurred_at)
  local kept, released = 'o:' .. offer, 'rel:' .. offer
  local recorded = 'r:' .. offer .. ':' .. outcome
  local opposite = TERMINAL[outcome]
  local contrary = 'r:' .. offer .. ':' .. (opposite or '')
  local accepted, rejected = 'r:' .. offer .. ':accepted', 'r:' .. offer .. ':rejected'
  local gained = 'g:' .. offer
  local known = waiting(decision,
    { 'd', 'u', 'p', 'pl', 'm', 's', 'cu', 'w', 'os', 'f', 'z', 'z:' .. offer, kept, released, recorded, contrary,
      accepted, rejected, gained, 'l:' .. offer, 'hh' })
  if not known.d then return { 'unknown' } end
  if not known[kept] then return { 'not_offered' } end
  local at = string.format('%.0f', math.min(occurred_ms, now_ms))
  local decided = parse_offer(known[kept])
  local function reply(status, told_at, again)
    local found = { status, told_at, note_changed(aliases, handovers, known.cu, nil, again) or false }
    if known.hh and known[released] and decided.counts then
      for _, one in ipairs({ known.hh, at, member(decided, 'd', id), known.w }) do found[#found + 1] = one end
    end
    return found
  end
  -- Whoever was told last may not have come to hand it over.
  if known[recorded] then return reply('duplicate', known[recorded]) end
  if opposite and known[contrary] then return { 'contradicts', opposite } end
  worth = worth or ''
  local earned = known[gained] and parse_earned(known[gained])
  if earned and worth == '' then worth = DEFAULT_WORTH[outcome] or '' end
  if earned and earned.terminal ~= '-' and has_place(worth) then return { 'contradicts', earned.terminal } end
  if occurred_ms < tonumber(known.d) - tonumber(skew_ms) then return { 'too_early' } end

  local until_ms = tonumber(known.u)
  local late = known.s or now_ms > until_ms or occurred_ms > until_ms
  local reward = (not late) and REWARD[outcome] or ''
  local silence, counted = '', silence_of(known, offer)
  if reward ~= '' then
    silence = counted
  elseif known.z and known.m == 'explicit' and not late and silence_of(known, offer) == '' and not known[accepted]
    and not known[rejected] then
    silence = occurred_at -- the offer was shown: until more is told, that nothing came of it is what is learned
    redis.call('HSET', decision, 'z:' .. offer, silence)
  end
  local told = ''
  if worth ~= '' and known.z and not late then
    local answer = not known['l:' .. offer] and (known[accepted] and 'accepted' or known[rejected] and 'rejected') or nil
    earned = earned or first_earned(counted, answer, occurred_at)
    if earned then
      told = revise(earned, outcome, worth)
      redis.call('HSET', decision, gained, told)
    end
  end
  local again
  local keep_ms = tonumber(known.w or '0')
  if keep_ms > 0 then
    local contact = contacts .. known.cu
    if known[released] and decided.counts then
      again = member(decided, 'd', id)
      remember(contact, at, again, keep_ms)
    end
    remember(contact, at, outcome_member(decided, outcome, id), keep_ms)
  end
  if causes and causes ~= '' then
    for _, cause in ipairs(split(causes)) do
      -- Looked at everywhere, and in the same channel.
      for _, slot in ipairs({ cause, cause .. '@' .. decided.channel }) do
        local one = { number = decided.number, scope = decided.scope, channel = slot, counts = decided.counts }
        remember(contacts .. known.cu, at, member(one, 's', id), math.max(keep_ms, tonumber(suppress_ms)))
      end
    end
  end
  redis.call('HSET', decision, recorded, now)
  if not LETTERED[outcome] then redis.call('HSET', decision, 'own:' .. offer, now) end
  if late and opposite then redis.call('HSET', decision, 'l:' .. offer, '1') end
  local teaches = reward ~= '' or silence ~= '' or told ~= ''
  local record = { 't', 'outcome', 'id', id, 'o', offer, 'n', decided.number, 'k', outcome, 'v', value,
    'at', occurred_at, 'ts', now, 'd', known.d, 'l', late and '1' or '0', 'r', reward, 'q', decided.prior,
    'p', known.p, 'pl', known.pl, 'e', expected_of(decision, split(known.os), offer), 'f', teaches and known.f or '',
    'z', silence }
  for _, field in ipairs({ { 'g', told }, { 'rs', reason or '' }, { 'sp', causes or '' } }) do
    if field[2] ~= '' then record[#record + 1], record[#record + 2] = field[1], field[2] end
  end
  redis.call('XADD', log, '*', unpack(record))
  return reply(late and 'late' or 'recorded', now, again)
end

-- Records outcomes in their order. One that fails keeps no other from being recorded.
-- keys: decisions (what the keys of the bucket's decisions begin with), log, contacts (the same of contact histories),
--       aliases (the same of aliases), handovers
-- args: for each outcome: id, now, offer, outcome, value, occurred at, how far clocks may differ (ms), what the outcome is
--       worth ("" if it earns nothing: see 1_earned.lua), the reason that was told ("" for none), for what it suppresses
--       other offers (causes, joined by ","), how long that matters (ms)
-- returns for each: {"recorded" | "late" | "duplicate", at} | {"unknown"} | {"not_offered"} | {"contradicts", outcome} |
--   {"too_early"}; with the first ones also the customer, if that is an alias (else nil), and where a contact that was given
--   back counts again: household, time, member, how long it is kept (ms); an error where it failed
local function feedback(keys, args)
  local replies = {}
  for first = 1, #args, OUTCOME_FIELDS do
    local done, reply = pcall(record_outcome, keys, unpack(args, first, first + OUTCOME_FIELDS - 1))
    if not done then
      local why = type(reply) == 'table' and reply.err or tostring(reply)
      reply = { err = 'ERR Error running user_function: ' .. why }
    end
    replies[#replies + 1] = reply
  end
  return replies
end

-- The outcomes of an offer that are recorded: those of a kind, or none.
local function answers(decision, offer)
  local field = 'r:' .. offer .. ':'
  local seen = redis.call('HMGET', decision, field .. 'presented', field .. 'clicked', field .. 'accepted',
    field .. 'rejected', 'own:' .. offer)
  return { presented = seen[1], clicked = seen[2], accepted = seen[3], rejected = seen[4], own = seen[5],
    any = seen[1] or seen[2] or seen[3] or seen[4] or seen[5] }
end

local function decided_offer(decision, offer)
  return parse_offer(redis.call('HGET', decision, 'o:' .. offer))
end

-- An offer in a record that closes several: "<offer> <number> <prior> <reward> <expected> <silence>".
local function closed(offer, decided, reward, expected, silence)
  return table.concat({ offer, decided.number, decided.prior, reward, expected or '', silence or '' }, ' ')
end

-- Gives back what was reserved for offers of which nobody said in time that they were presented.
-- keys: decision, log, unconfirmed, contacts, aliases, handovers (as for feedback)
-- args: id, now
-- returns "released" | "confirmed" | "early" | "gone"
local function release(keys, args)
  local decision, log, unconfirmed, contacts, aliases, handovers = unpack(keys)
  local id, now = unpack(args)
  local due = redis.call('ZSCORE', unconfirmed, id)
  if not due then return 'gone' end
  local known = waiting(decision, { 'd', 'p', 'pl', 'os', 'cu' })
  if known.d and tonumber(now) < tonumber(due) then return 'early' end
  redis.call('ZREM', unconfirmed, id)
  if not known.d then return 'gone' end
  local released, removed = {}, {}
  for _, offer in ipairs(split(known.os)) do
    if not answers(decision, offer).any then
      local decided = decided_offer(decision, offer)
      removed[#removed + 1] = member(decided, 'd', id)
      redis.call('ZREM', contacts .. known.cu, removed[#removed])
      redis.call('HSET', decision, 'rel:' .. offer, now)
      released[#released + 1] = closed(offer, decided, '-')
    end
  end
  if #released == 0 then return 'confirmed' end
  note_changed(aliases, handovers, known.cu, removed)
  redis.call('XADD', log, '*', 't', 'released', 'id', id, 'd', known.d, 'at', now, 'ts', now,
    'p', known.p, 'pl', known.pl, 'os', table.concat(released, ','))
  return 'released'
end

-- What came of an answered offer in time: 1 accepted, 0 rejected, - if the answer was late (l:<offer>; earlier versions
-- did not note it, so the time at which it was recorded is compared as well).
local function result_of(decision, offer, seen, until_ms)
  local is_late = redis.call('HEXISTS', decision, 'l:' .. offer) == 1
  if is_late or tonumber(seen.accepted or seen.rejected) > tonumber(until_ms) then return '-' end
  return seen.accepted and '1' or '0'
end

-- Closes a decision whose reward window has passed; what was not answered gets the default of its presentation, and
-- of what was answered it is told that it counts from now on (cl): whoever compares rates must not count acceptances,
-- which come at once, before silence, which comes now.
-- keys: decision, log, pending, unconfirmed, contacts, aliases, handovers (as for feedback)
-- args: id, now, grace_ms, 1 if a decision that has left Redis is to stay due (it is closed from the archive)
-- returns "expired" | "early" | "gone" | "left"
local function expire(keys, args)
  local decision, log, pending, unconfirmed, contacts, aliases, handovers = unpack(keys)
  local id, now, grace_ms, keep = unpack(args)
  local known = waiting(decision, { 'd', 'u', 'p', 'pl', 'm', 'os', 's', 'f', 'z' })
  if not known.d and keep == '1' then return redis.call('ZSCORE', pending, id) and 'left' or 'gone' end
  if not known.d or known.s then
    redis.call('ZREM', pending, id)
    return 'gone'
  end
  if tonumber(now) <= tonumber(known.u) then return 'early' end
  release({ decision, log, unconfirmed, contacts, aliases, handovers }, { id, now })
  local open, settled = {}, {}
  local offers = split(known.os)
  for _, offer in ipairs(offers) do
    local seen = answers(decision, offer)
    if seen.accepted or seen.rejected then
      local result = result_of(decision, offer, seen, known.u)
      settled[#settled + 1] = closed(offer, decided_offer(decision, offer), result)
    else
      local shown = known.m == 'implicit' or seen.presented or seen.clicked or seen.own
      known['z:' .. offer] = redis.call('HGET', decision, 'z:' .. offer)
      open[#open + 1] = closed(offer, decided_offer(decision, offer), shown and '0' or '-',
        expected_of(decision, offers, offer), silence_of(known, offer))
    end
  end
  if #open > 0 or #settled > 0 then
    redis.call('XADD', log, '*', 't', 'expired', 'id', id, 'd', known.d, 'at', known.u, 'ts', now,
      'p', known.p, 'pl', known.pl, 'os', table.concat(open, ','), 'f', known.f or '',
      'cl', table.concat(settled, ','))
  end
  redis.call('HSET', decision, 's', 'expired')
  redis.call('PEXPIRE', decision, grace_ms)
  redis.call('ZREM', pending, id)
  return 'expired'
end

-- Removes all contacts of a decision; returns their names.
local function forget(decision, contact, id)
  local known, names = waiting(decision, { 'd', 'p', 'os', 'sg' }), {}
  for _, signal in ipairs(split(known.sg or '')) do
    names[#names + 1] = signal_member(signal, id)
  end
  for _, offer in ipairs(split(known.os)) do
    local decided = decided_offer(decision, offer)
    for kind in string.gmatch('dpcar', '.') do names[#names + 1] = member(decided, kind, id) end
    if redis.call('HEXISTS', decision, 'own:' .. offer) == 1 then
      local field = 'r:' .. offer .. ':'
      for _, name in ipairs(redis.call('HKEYS', decision)) do
        local outcome = string.sub(name, 1, #field) == field and string.sub(name, #field + 1)
        if outcome and not LETTERED[outcome] then names[#names + 1] = outcome_member(decided, outcome, id) end
      end
    end
  end
  for _, name in ipairs(names) do redis.call('ZREM', contact, name) end
  return names
end

-- Takes back a decision whose answer could not be delivered as logged. The mark keeps a rebuild from bringing it back.
-- keys: decision, log, pending, contact, unconfirmed, mark, aliases, handovers
-- args: id, now, decided at, ttl of the mark (ms), the attempt that wrote it (see decide; "" for any)
-- returns "withdrawn" | "gone" | "kept" (it has been handed out since)
local function withdraw(keys, args)
  local decision, log, pending, contact, unconfirmed, mark, aliases, handovers = unpack(keys)
  local id, now, decided_at, ttl_ms, attempt = unpack(args)
  local known = waiting(decision, { 'd', 'cu', 'p', 'pl', 'm', 'os', 'f', 'z', 'g', 'a' })
  -- One that was put back from the archive does not know its attempt.
  if known.d ~= decided_at or (attempt ~= '' and (known.a or attempt) ~= attempt) then return 'gone' end
  if known.g then return 'kept' end
  local ids, offers = split(known.os), {}
  -- Something was earned by it, so its answer has arrived.
  for _, offer in ipairs(ids) do
    if redis.call('HEXISTS', decision, 'g:' .. offer) == 1 then return 'kept' end
  end
  for _, offer in ipairs(ids) do
    local kept = hmget(decision, { 'z:' .. offer, 'r:' .. offer .. ':accepted' })
    known['z:' .. offer] = kept['z:' .. offer]
    -- An acceptance has taken the silence back already.
    local silence = kept['r:' .. offer .. ':accepted'] and '' or silence_of(known, offer)
    offers[#offers + 1] = closed(offer, decided_offer(decision, offer), '-', expected_of(decision, ids, offer), silence)
  end
  note_changed(aliases, handovers, known.cu, forget(decision, contact, id))
  redis.call('XADD', log, '*', 't', 'withdrawn', 'id', id, 'd', known.d, 'at', now, 'ts', now,
    'p', known.p, 'pl', known.pl, 'os', table.concat(offers, ','), 'f', known.f or '')
  redis.call('SET', mark, known.d, 'PX', ttl_ms)
  redis.call('DEL', decision)
  redis.call('ZREM', pending, id)
  redis.call('ZREM', unconfirmed, id)
  return 'withdrawn'
end
