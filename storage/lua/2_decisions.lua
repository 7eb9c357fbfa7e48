-- keys: decision, log, pending, contact, unconfirmed, whole
-- args: id, now, until, ttl_ms, history_ms, header, candidates, priors, factors, customer, policy, placement,
--       presentation, confirm until ("" if that is not needed), 1 if offers with limits need a history that is whole,
--       facts that policies learn from ("" for none), offers, then for each offer: id, number, prior,
--       "<c or t> <group>:<goal> <channel>" (t does not count), checks, "<propensity>:<value>" as they were expected
-- returns {"ok", log id} | {"exists", header} | {"limit", offer, ...} | {"lost"}
local function decide(keys, args)
  local decision, log, pending, contact, unconfirmed = keys[1], keys[2], keys[3], keys[4], keys[5]
  local known = redis.call('HGET', decision, 'h')
  if known then return { 'exists', known } end
  local id, now = args[1], tonumber(args[2])
  local history_ms = tonumber(args[5])

  local fields, ids, offers = {}, {}, {}
  local lost = args[15] == '1' and redis.call('EXISTS', keys[6]) == 0
  for i = 1, tonumber(args[17]) do
    local at = 12 + 6 * i
    if lost and args[at + 4] ~= '' then return { 'lost' } end
    local kept = args[at + 1] .. ' ' .. args[at + 2] .. ' ' .. args[at + 3]
    ids[i], offers[i] = args[at], parse_offer(kept)
    offers[i].id, offers[i].checks = args[at], args[at + 4]
    fields[#fields + 1] = 'o:' .. args[at]
    fields[#fields + 1] = kept
    fields[#fields + 1] = 'e:' .. args[at]
    fields[#fields + 1] = args[at + 5]
  end
  local blocked = stopped(contact, offers, now)
  if #blocked > 0 then return { 'limit', unpack(blocked) } end

  if history_ms > 0 and #offers > 0 then
    redis.call('ZREMRANGEBYSCORE', contact, '-inf', string.format('%.0f', now - history_ms))
    for _, offer in ipairs(offers) do
      if offer.counts then remember(contact, args[2], member(offer, 'd', id), history_ms) end
    end
  end
  redis.call('HSET', decision, 'h', args[6], 'c', args[10], 'd', args[2], 'u', args[3], 'k', args[11],
    'l', args[12], 'm', args[13], 'w', args[5], 'n', table.concat(ids, ','), unpack(fields))
  if args[16] ~= '' then redis.call('HSET', decision, 'f', args[16]) end
  redis.call('PEXPIRE', decision, args[4])
  redis.call('ZADD', pending, args[3], id)
  if args[14] ~= '' and #offers > 0 then redis.call('ZADD', unconfirmed, args[14], id) end
  local record = { 't', 'decided', 'id', id, 'h', args[6], 'c', args[7], 'x', args[8] }
  if args[9] ~= '' then record[11], record[12] = 'f', args[9] end
  local position = redis.call('XADD', log, '*', unpack(record))
  return { 'ok', position }
end

-- keys: decision, log, contacts (what the keys of the bucket's contact histories begin with)
-- args: id, now, offer, outcome, value, occurred at, how far clocks may differ (ms)
-- returns {"recorded" | "late" | "duplicate", at} | {"unknown"} | {"not_offered"} | {"contradicts", outcome} |
--   {"too_early"}
local function feedback(keys, args)
  local decision, log = keys[1], keys[2]
  local id, now, offer, outcome = args[1], tonumber(args[2]), args[3], args[4]
  local field = 'r:' .. offer .. ':'
  local opposite = TERMINAL[outcome]
  local known = redis.call('HMGET', decision, 'd', 'u', 'k', 'l', 's', 'o:' .. offer, field .. outcome,
    field .. (opposite or ''), 'c', 'w', 'x:' .. offer, 'e:' .. offer, 'f')
  if not known[1] then return { 'unknown' } end
  if not known[6] then return { 'not_offered' } end
  if known[7] then return { 'duplicate', known[7] } end
  if opposite and known[8] then return { 'contradicts', opposite } end
  if tonumber(args[6]) < tonumber(known[1]) - tonumber(args[7]) then return { 'too_early' } end

  local late = known[5] or now > tonumber(known[2]) or tonumber(args[6]) > tonumber(known[2])
  local reward = (not late) and REWARD[outcome] or ''
  local decided = parse_offer(known[6])
  local keep_ms = tonumber(known[10] or '0')
  if keep_ms > 0 then
    local contact = keys[3] .. known[9]
    local at = string.format('%.0f', math.min(tonumber(args[6]), now))
    if known[11] and decided.counts then remember(contact, at, member(decided, 'd', id), keep_ms) end
    remember(contact, at, member(decided, string.sub(outcome, 1, 1), id), keep_ms)
  end
  redis.call('HSET', decision, field .. outcome, args[2])
  redis.call('XADD', log, '*', 't', 'outcome', 'id', id, 'o', offer, 'n', decided.number, 'k', outcome, 'v', args[5],
    'at', args[6], 'ts', args[2], 'd', known[1], 'l', late and '1' or '0', 'r', reward, 'q', decided.prior,
    'p', known[3], 'pl', known[4], 'e', known[12] or '', 'f', reward ~= '' and known[13] or '')
  return { late and 'late' or 'recorded', args[2] }
end

-- The outcomes of an offer that are recorded: those of a kind, or none.
local function answers(decision, offer)
  local field = 'r:' .. offer .. ':'
  local seen = redis.call('HMGET', decision, field .. 'presented', field .. 'clicked', field .. 'accepted',
    field .. 'rejected')
  return { presented = seen[1], clicked = seen[2], accepted = seen[3], rejected = seen[4],
    any = seen[1] or seen[2] or seen[3] or seen[4] }
end

-- Gives back what was reserved for offers of which nobody said in time that they were presented.
-- keys: decision, log, unconfirmed, contacts (as for feedback)
-- args: id, now
-- returns "released" | "confirmed" | "early" | "gone"
local function release(keys, args)
  local decision, log, unconfirmed = keys[1], keys[2], keys[3]
  local id = args[1]
  local due = redis.call('ZSCORE', unconfirmed, id)
  if not due then return 'gone' end
  local known = redis.call('HMGET', decision, 'd', 'k', 'l', 'n', 'c')
  if known[1] and tonumber(args[2]) < tonumber(due) then return 'early' end
  redis.call('ZREM', unconfirmed, id)
  if not known[1] then return 'gone' end
  local released = {}
  for _, offer in ipairs(split(known[4])) do
    if not answers(decision, offer).any then
      local decided = parse_offer(redis.call('HGET', decision, 'o:' .. offer))
      redis.call('ZREM', keys[4] .. known[5], member(decided, 'd', id))
      redis.call('HSET', decision, 'x:' .. offer, args[2])
      released[#released + 1] = offer .. ' ' .. decided.number .. ' ' .. decided.prior .. ' -'
    end
  end
  if #released == 0 then return 'confirmed' end
  redis.call('XADD', log, '*', 't', 'released', 'id', id, 'd', known[1], 'at', args[2], 'ts', args[2],
    'p', known[2], 'pl', known[3], 'o', table.concat(released, ','))
  return 'released'
end

-- Closes a decision whose reward window has passed; what was not answered gets the default of its presentation.
-- keys: decision, log, pending, unconfirmed, contacts (as for feedback)
-- args: id, now, grace_ms
-- returns "expired" | "early" | "gone"
local function expire(keys, args)
  local decision, log, pending = keys[1], keys[2], keys[3]
  local known = redis.call('HMGET', decision, 'd', 'u', 'k', 'l', 'm', 'n', 's', 'f')
  if not known[1] or known[7] then
    redis.call('ZREM', pending, args[1])
    return 'gone'
  end
  if tonumber(args[2]) <= tonumber(known[2]) then return 'early' end
  release({ decision, log, keys[4], keys[5] }, { args[1], args[2] })
  local open = {}
  for _, offer in ipairs(split(known[6])) do
    local seen = answers(decision, offer)
    if not seen.accepted and not seen.rejected then
      local shown = known[5] == 'implicit' or seen.presented or seen.clicked
      local kept = redis.call('HMGET', decision, 'o:' .. offer, 'e:' .. offer)
      local decided = parse_offer(kept[1])
      open[#open + 1] = offer .. ' ' .. decided.number .. ' ' .. decided.prior .. ' ' .. (shown and '0' or '-') ..
        ' ' .. (kept[2] or '')
    end
  end
  if #open > 0 then
    redis.call('XADD', log, '*', 't', 'expired', 'id', args[1], 'd', known[1], 'at', known[2], 'ts', args[2],
      'p', known[3], 'pl', known[4], 'o', table.concat(open, ','), 'f', known[8] or '')
  end
  redis.call('HSET', decision, 's', 'expired')
  redis.call('PEXPIRE', decision, args[3])
  redis.call('ZREM', pending, args[1])
  return 'expired'
end

-- Removes all contacts of a decision.
local function forget(decision, contact, id)
  for _, offer in ipairs(split(redis.call('HGET', decision, 'n'))) do
    local decided = parse_offer(redis.call('HGET', decision, 'o:' .. offer))
    for kind in string.gmatch('dpcar', '.') do redis.call('ZREM', contact, member(decided, kind, id)) end
  end
end

-- Takes back a decision whose answer could not be delivered as logged. The mark keeps a rebuild from bringing it back.
-- keys: decision, log, pending, contact, unconfirmed, mark
-- args: id, now, decided at, ttl of the mark (ms)
local function withdraw(keys, args)
  local decision, log, pending, contact = keys[1], keys[2], keys[3], keys[4]
  local known = redis.call('HMGET', decision, 'd', 'k', 'l', 'n')
  if known[1] ~= args[3] then return 'gone' end
  local offers = {}
  for _, offer in ipairs(split(known[4])) do
    local decided = parse_offer(redis.call('HGET', decision, 'o:' .. offer))
    offers[#offers + 1] = offer .. ' ' .. decided.number .. ' ' .. decided.prior .. ' -'
  end
  forget(decision, contact, args[1])
  redis.call('XADD', log, '*', 't', 'withdrawn', 'id', args[1], 'd', known[1], 'at', args[2], 'ts', args[2],
    'p', known[2], 'pl', known[3], 'o', table.concat(offers, ','))
  redis.call('SET', keys[6], known[1], 'PX', args[4])
  redis.call('DEL', decision)
  redis.call('ZREM', pending, args[1])
  redis.call('ZREM', keys[5], args[1])
  return 'withdrawn'
end
