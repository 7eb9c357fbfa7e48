#!lua name=nextbest

-- The server-side steps of nextbest. Each is atomic: it takes effect entirely or not at all.
-- A decision that waits for outcomes is a hash:
--   h header of its record, c customer, d decided at (ms), u feedback until (ms), k policy, l placement,
--   m presentation, s state, w how long contacts matter (ms), n offers joined by ",",
--   o:<offer> "<number> <prior> <c or t> <group>:<goal> <channel>" (c if it counts as a contact, t if transactional),
--   r:<offer>:<outcome> recorded at (ms), x:<offer> released at (ms)
-- Records of the log are described in decisioning/records.py.

local TERMINAL = { accepted = 'rejected', rejected = 'accepted' }
local REWARD = { accepted = '1', rejected = '0' }

local function split(text)
  local parts = {}
  for part in string.gmatch(text, '[^,]+') do parts[#parts + 1] = part end
  return parts
end

-- What o:<offer> says: {number, prior, whether it counts as a contact, "<group>:<goal>", channel}.
local function parse_offer(text)
  local number, prior, mark, scope, channel = string.match(text, '^(%d+) (%S+) (%a) (%S*) (%S*)$')
  if not number then -- as earlier versions wrote it
    number, prior = string.match(text, '^(%d+) (%S+)')
    scope, channel = ':', ''
  end
  return { number = number, prior = prior, counts = mark == 'c', scope = scope, channel = channel }
end

-- A contact as it stands in the history: "<number>:<group>:<goal>:<kind>:<channel>:<decision>", with a capital letter
-- for offers that do not count.
local function member(offer, kind, id)
  if not offer.counts then kind = string.upper(kind) end
  return offer.number .. ':' .. offer.scope .. ':' .. kind .. ':' .. offer.channel .. ':' .. id
end

-- The score of a contact is the time in ms. The first time counts.
local function remember(contact, at, name, keep_ms)
  redis.call('ZADD', contact, 'NX', at, name)
  if redis.call('PTTL', contact) < keep_ms then redis.call('PEXPIRE', contact, string.format('%.0f', keep_ms)) end
end

local function set(text)
  local found = {}
  for _, part in ipairs(split(text)) do found[part] = true end
  return found
end

-- The same as blocked_until in decisioning/contact/policies.py; times are in order.
local function blocked_until(times, most, window_ms, suppress_ms, now)
  local count = #times
  if most < 1 then return 2 ^ 53 end
  if count < most then return nil end
  local ends = times[count - most + 1] + window_ms
  if suppress_ms > 0 then
    for last = count, most, -1 do
      if times[last] - times[last - most + 1] < window_ms then
        ends = math.max(ends, times[last] + suppress_ms)
        break
      end
    end
  end
  if ends > now then return ends end
  return nil
end

-- A check is "<scope><values>|<kinds>|<max>|<window_ms>|<suppress_ms>|<channels>"; scopes are o (numbers of offers),
-- g (groups), l (goals) and a (all); several are separated by ";".
local function parse_check(text)
  local scope, values, kinds, most, window, suppress, channels =
    string.match(text, '^(%a)([^|]*)|(%a+)|(%d+)|(%d+)|(%d+)|(.*)$')
  return { scope = scope, values = set(values), kinds = kinds, most = tonumber(most), window = tonumber(window),
    suppress = tonumber(suppress), channels = channels ~= '' and set(channels) or nil }
end

local function is_counted(check, one)
  if not string.find(check.kinds, one.kind, 1, true) then return false end
  if check.channels and not check.channels[one.channel] then return false end
  return check.scope == 'a' or check.values[one[check.scope]] == true
end

local function parse_contact(name, at)
  local number, group, goal, kind, channel = string.match(name, '^(%d+):([^:]*):([^:]*):(%a):([^:]*):')
  return { o = number, g = group, l = goal, kind = kind, channel = channel, at = tonumber(at) }
end

-- The contacts that any of the checks may count.
local function history(contact, checks, now)
  local longest = 0
  for _, check in pairs(checks) do longest = math.max(longest, check.window + check.suppress) end
  local reply = redis.call('ZRANGE', contact, '(' .. string.format('%.0f', now - longest), '+inf', 'BYSCORE', 'WITHSCORES')
  local found = {}
  for i = 1, #reply, 2 do
    local one = parse_contact(reply[i], reply[i + 1])
    if one.kind then found[#found + 1] = one end
  end
  return found
end

-- Which offers must not be decided now. Those that may are added to what is counted for the ones behind them.
local function stopped(contact, offers, now)
  local checks, any, blocked = {}, false, {}
  for _, offer in ipairs(offers) do
    for text in string.gmatch(offer.checks, '[^;]+') do
      checks[text], any = checks[text] or parse_check(text), true
    end
  end
  if not any then return blocked end
  local contacts = history(contact, checks, now)
  for _, check in pairs(checks) do
    check.times = {}
    for _, one in ipairs(contacts) do
      if is_counted(check, one) then check.times[#check.times + 1] = one.at end
    end
  end
  for _, offer in ipairs(offers) do
    local free = true
    for text in string.gmatch(offer.checks, '[^;]+') do
      local check = checks[text]
      free = free and not blocked_until(check.times, check.most, check.window, check.suppress, now)
    end
    if not free then
      blocked[#blocked + 1] = offer.id
    elseif offer.counts then
      local one = parse_contact(member(offer, 'd', ''), now)
      for _, check in pairs(checks) do
        if is_counted(check, one) then
          check.times[#check.times + 1] = now
          table.sort(check.times)
        end
      end
    end
  end
  return blocked
end

-- keys: decision, log, pending, contact, unconfirmed, whole
-- args: id, now, until, ttl_ms, history_ms, header, candidates, priors, factors, customer, policy, placement,
--       presentation, confirm until ("" if that is not needed), 1 if offers with limits need a history that is whole,
--       offers, then for each offer: id, number, prior, "<c or t> <group>:<goal> <channel>" (t does not count), checks
-- returns {"ok", log id} | {"exists", header} | {"limit", offer, ...} | {"lost"}
local function decide(keys, args)
  local decision, log, pending, contact, unconfirmed = keys[1], keys[2], keys[3], keys[4], keys[5]
  local known = redis.call('HGET', decision, 'h')
  if known then return { 'exists', known } end
  local id, now = args[1], tonumber(args[2])
  local history_ms = tonumber(args[5])

  local fields, ids, offers = {}, {}, {}
  local lost = args[15] == '1' and redis.call('EXISTS', keys[6]) == 0
  for i = 1, tonumber(args[16]) do
    local at = 12 + 5 * i
    if lost and args[at + 4] ~= '' then return { 'lost' } end
    local kept = args[at + 1] .. ' ' .. args[at + 2] .. ' ' .. args[at + 3]
    ids[i], offers[i] = args[at], parse_offer(kept)
    offers[i].id, offers[i].checks = args[at], args[at + 4]
    fields[#fields + 1] = 'o:' .. args[at]
    fields[#fields + 1] = kept
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
    field .. (opposite or ''), 'c', 'w', 'x:' .. offer)
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
    'p', known[3], 'pl', known[4])
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
  local known = redis.call('HMGET', decision, 'd', 'u', 'k', 'l', 'm', 'n', 's')
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
      local decided = parse_offer(redis.call('HGET', decision, 'o:' .. offer))
      open[#open + 1] = offer .. ' ' .. decided.number .. ' ' .. decided.prior .. ' ' .. (shown and '0' or '-')
    end
  end
  if #open > 0 then
    redis.call('XADD', log, '*', 't', 'expired', 'id', args[1], 'd', known[1], 'at', known[2], 'ts', args[2],
      'p', known[3], 'pl', known[4], 'o', table.concat(open, ','))
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

-- Appends records that were made elsewhere (imported history, outcomes after a decision has left Redis), once per mark.
-- keys: mark, log, contact
-- args: ttl_ms, history_ms, contacts, then for each contact: time, member; then for each record: number of fields and
--       values, fields and values
-- returns "ok" | "duplicate"
local function append(keys, args)
  if not redis.call('SET', keys[1], '1', 'NX', 'PX', args[1]) then return 'duplicate' end
  local at, keep_ms = 4, tonumber(args[2])
  for _ = 1, tonumber(args[3]) do
    if keep_ms > 0 then remember(keys[3], args[at], args[at + 1], keep_ms) end
    at = at + 2
  end
  while at <= #args do
    local count = tonumber(args[at])
    local record = {}
    for i = 1, count do record[i] = args[at + i] end
    redis.call('XADD', keys[2], '*', unpack(record))
    at = at + count + 1
  end
  return 'ok'
end

local function sum(old, delta)
  if not old then return delta end
  local count = #delta / 8
  local packed = {}
  for i = 1, count do
    local at = (i - 1) * 8 + 1
    packed[i] = struct.pack('<d', struct.unpack('<d', old, at) + struct.unpack('<d', delta, at))
  end
  return table.concat(packed)
end

-- Adds to arms, only if they were not reset since they were read, and every bucket's position is the expected one.
-- keys: arms, changes
-- args: first epoch of the generation, first of the next one, buckets, then for each bucket: number, expected position,
--       new position; then field, delta, ...
-- returns {"ok", epoch} | {"reset"} | {"conflict", bucket, position} | {"missing"}
local function fold(keys, args)
  local arms, changes = keys[1], keys[2]
  local epoch = tonumber(redis.call('HGET', arms, 'epoch') or '-1')
  if epoch < 0 then return { 'missing' } end
  if epoch < tonumber(args[1]) or epoch >= tonumber(args[2]) then return { 'reset' } end
  local buckets = tonumber(args[3])
  local positions = {}
  for i = 0, buckets - 1 do
    local bucket, expected = args[4 + 3 * i], args[5 + 3 * i]
    local position = redis.call('HGET', arms, '@' .. bucket) or '0-0'
    if position ~= expected then return { 'conflict', bucket, position } end
    positions[#positions + 1] = bucket .. ' ' .. args[6 + 3 * i]
  end
  epoch = epoch + 1
  local written = { 'epoch', string.format('%.0f', epoch) }
  local change = { 'p', table.concat(positions, ',') }
  for i = 0, buckets - 1 do
    written[#written + 1] = '@' .. args[4 + 3 * i]
    written[#written + 1] = args[6 + 3 * i]
  end
  for at = 4 + 3 * buckets, #args, 2 do
    local state = sum(redis.call('HGET', arms, args[at]), args[at + 1])
    written[#written + 1], written[#written + 2] = args[at], state
    change[#change + 1], change[#change + 2] = args[at], state
  end
  redis.call('HSET', arms, unpack(written))
  redis.call('XADD', changes, string.format('%.0f-1', epoch), unpack(change))
  return { 'ok', epoch }
end

-- Replaces all arms, as after a rebuild from Postgres. Replicas see the mark and read everything again.
-- keys: arms, changes
-- args: expected epoch (-1 for none), epoch, positions ("<bucket> <position>,..."), then field, state, ...
-- returns "ok" | "conflict"
local function reset(keys, args)
  local arms, changes = keys[1], keys[2]
  local epoch = redis.call('HGET', arms, 'epoch')
  if args[1] ~= (epoch or '-1') then return 'conflict' end
  redis.call('DEL', arms, changes)
  redis.call('HSET', arms, 'epoch', args[2])
  for _, pair in ipairs(split(args[3])) do
    local bucket, position = string.match(pair, '^(%d+) (.+)$')
    redis.call('HSET', arms, '@' .. bucket, position)
  end
  for at = 4, #args, 2 do redis.call('HSET', arms, args[at], args[at + 1]) end
  redis.call('XADD', changes, args[2] .. '-1', 'reset', '1', 'p', args[3])
  return 'ok'
end

-- Puts back what Postgres knows of a decision: its contacts, its outcomes, and while it is open the decision itself.
-- keys: decision, pending, contact, mark of its withdrawal, unconfirmed
-- args: id, until, ttl_ms, history_ms, decided at, state (open, expired, withdrawn), confirm until ("" if that is not
--       needed any more), contacts, then for each contact: offer if it is a reservation that may have been released
--       meanwhile, else "", time, member; for each outcome: field, recorded at ("" ends them), then field, value, ... of
--       the decision
-- returns "restored" | "merged" | "withdrawn" | "closed"
local function restore(keys, args)
  local decision, pending, contact, id, state = keys[1], keys[2], keys[3], args[1], args[6]
  local here = redis.call('HGET', decision, 'd')
  if state == 'withdrawn' or redis.call('GET', keys[4]) == args[5] then
    if here == args[5] then
      forget(decision, contact, id)
      redis.call('DEL', decision)
      redis.call('ZREM', pending, id)
      redis.call('ZREM', keys[5], id)
    end
    return 'withdrawn'
  end
  local at = 9
  for _ = 1, tonumber(args[8]) do
    if args[at] == '' or here ~= args[5] or redis.call('HEXISTS', decision, 'x:' .. args[at]) == 0 then
      remember(contact, args[at + 1], args[at + 2], tonumber(args[4]))
    end
    at = at + 3
  end
  local outcomes = at
  while args[at] ~= '' do at = at + 2 end
  if here and here ~= args[5] then return 'closed' end -- the same id of the caller's own names a later decision
  if not here then
    if state ~= 'open' then return 'closed' end
    redis.call('HSET', decision, unpack(args, at + 1))
    redis.call('PEXPIRE', decision, args[3])
    redis.call('ZADD', pending, args[2], id)
    if args[7] ~= '' then redis.call('ZADD', keys[5], args[7], id) end
  end
  for field = outcomes, at - 1, 2 do
    local fresh = redis.call('HSETNX', decision, args[field], args[field + 1])
    local offer = string.match(args[field], '^x:(.+)$')
    if fresh == 1 and offer and here and not answers(decision, offer).any then
      redis.call('ZREM', contact, member(parse_offer(redis.call('HGET', decision, 'o:' .. offer)), 'd', id))
      redis.call('ZREM', keys[5], id)
    end
  end
  if state == 'expired' then
    redis.call('HSET', decision, 's', 'expired')
    redis.call('ZREM', pending, id)
    redis.call('ZREM', keys[5], id)
  end
  return here and 'merged' or 'restored'
end

local function precedes(a_ms, a_sequence, b_ms, b_sequence)
  return a_ms < b_ms or (a_ms == b_ms and a_sequence < b_sequence)
end

-- Makes a stream that lost its end go on behind the position that is archived: with a mark at that position, and then
-- with those of its entries that are not archived, in their order. Entries that would come before it move behind it.
-- keys: log
-- args: last position that the stream has given out ("0-0" if there is none), archived position, positions to keep
-- returns "ok" | "conflict"
local function resume(keys, args)
  local log, last = keys[1], '0-0'
  if redis.call('EXISTS', log) == 1 then
    local info = redis.call('XINFO', 'STREAM', log)
    for i = 1, #info, 2 do
      if info[i] == 'last-generated-id' then last = info[i + 1] end
    end
  end
  if last ~= args[1] then return 'conflict' end
  local kept = {}
  for i = 3, #args do kept[#kept + 1] = redis.call('XRANGE', log, args[i], args[i])[1] end
  redis.call('DEL', log)
  redis.call('XADD', log, args[2], 't', 'start')
  local ms, sequence = string.match(args[2], '^(%d+)-(%d+)$')
  ms, sequence = tonumber(ms), tonumber(sequence)
  for _, entry in ipairs(kept) do
    local own_ms, own_sequence = string.match(entry[1], '^(%d+)-(%d+)$')
    own_ms, own_sequence = tonumber(own_ms), tonumber(own_sequence)
    if precedes(ms, sequence, own_ms, own_sequence) then
      ms, sequence = own_ms, own_sequence
    else
      sequence = sequence + 1
    end
    redis.call('XADD', log, string.format('%.0f-%.0f', ms, sequence), unpack(entry[2]))
  end
  return 'ok'
end

redis.register_function('nb_decide', decide)
redis.register_function('nb_feedback', feedback)
redis.register_function('nb_release', release)
redis.register_function('nb_expire', expire)
redis.register_function('nb_withdraw', withdraw)
redis.register_function('nb_append', append)
redis.register_function('nb_fold', fold)
redis.register_function('nb_reset', reset)
redis.register_function('nb_restore', restore)

-- Capacity. The argument for its safety is in decisioning/capacity.py. A pool is a hash: cap, v (catalogue version of the
-- cap), s settled, r released; and for each holder of a lease: l:<holder> leased, u:<holder> used of these, e:<holder>
-- when the lease ends (ms). Where a function takes "now", "*" stands for the server's own clock.

local function clock(now)
  if now ~= '*' then return tonumber(now) end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function read_pool(key)
  local flat, pool = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do pool[flat[i]] = flat[i + 1] end
  return pool, #flat > 0
end

-- Opens a pool with what the log says, unless it is open or the opener is late.
-- keys: pool
-- args: now, before ("" for no limit), settled, released, expires at ("" for never)
-- returns "ok" | "exists" | "late"
local function open_pool(keys, args)
  if redis.call('EXISTS', keys[1]) == 1 then return 'exists' end
  if args[2] ~= '' and clock(args[1]) >= tonumber(args[2]) then return 'late' end
  redis.call('HSET', keys[1], 's', args[3], 'r', args[4])
  if args[5] ~= '' then redis.call('PEXPIREAT', keys[1], args[5]) end
  return 'ok'
end

-- Renews a holder's lease, takes its report, and grants more units if there are any.
-- keys: pool
-- args: now, cap, catalogue version, holder, held (units granted so far), used of these, want, lease_ms
-- returns {"ok", granted, ends at, remaining} | {"missing"} | {"lapsed"}
local function lease(keys, args)
  local now, holder, held = clock(args[1]), args[4], tonumber(args[5])
  local pool, found = read_pool(keys[1])
  if not found then return { 'missing' } end
  local ends = pool['e:' .. holder]
  if tonumber(pool['l:' .. holder] or '0') ~= held or (ends and now >= tonumber(ends)) then return { 'lapsed' } end

  local cap = tonumber(args[2])
  if pool.v and tonumber(args[3]) < tonumber(pool.v) then
    cap = tonumber(pool.cap)
  else
    redis.call('HSET', keys[1], 'cap', args[2], 'v', args[3])
  end
  local taken, holders = tonumber(pool.s) - tonumber(pool.r), ends and 0 or 1
  for field, value in pairs(pool) do
    if string.sub(field, 1, 2) == 'l:' then
      taken, holders = taken + tonumber(value), holders + 1
    end
  end
  local remaining = cap - taken
  local fair = math.max(math.ceil(remaining / (4 * holders)), 1)
  local granted = math.max(math.min(tonumber(args[7]), fair, remaining), 0)
  local until_ms = now + tonumber(args[8])
  if ends or granted > 0 then
    redis.call('HSET', keys[1], 'l:' .. holder, string.format('%.0f', held + granted), 'u:' .. holder, args[6],
      'e:' .. holder, string.format('%.0f', until_ms))
  end
  return { 'ok', granted, until_ms, math.max(remaining - granted, 0) }
end

-- Ends a lease of which exactly "used" units were used; the others are free again.
-- keys: pool
-- args: now ("" if it may still run), holder, used
-- returns "ok" | "gone" | "early"
local function end_lease(keys, args)
  local fields = { 'l:' .. args[2], 'u:' .. args[2], 'e:' .. args[2] }
  local ends = redis.call('HGET', keys[1], fields[3])
  if not ends then return 'gone' end
  if args[1] ~= '' and clock(args[1]) < tonumber(ends) then return 'early' end
  redis.call('HINCRBY', keys[1], 's', args[3])
  redis.call('HDEL', keys[1], unpack(fields))
  return 'ok'
end

-- The holder gives its lease back. keys: pool; args: holder, used
local function return_lease(keys, args)
  return end_lease(keys, { '', args[1], args[2] })
end

-- How many units have been released so far, as counted in the log. keys: pool; args: count
local function count_released(keys, args)
  if redis.call('EXISTS', keys[1]) == 0 then return 'gone' end
  redis.call('HSET', keys[1], 'r', args[1])
  return 'ok'
end

-- decide, if the server's clock is before a time.
-- args: before, then those of decide. Returns {"late"} or what decide returns.
local function decide_within(keys, args)
  if clock('*') >= tonumber(args[1]) then return { 'late' } end
  return decide(keys, { unpack(args, 2) })
end

redis.register_function('nb_open', open_pool)
redis.register_function('nb_lease', lease)
redis.register_function('nb_return', return_lease)
redis.register_function('nb_settle', end_lease)
redis.register_function('nb_released', count_released)
redis.register_function('nb_decide_within', decide_within)
redis.register_function('nb_resume', resume)
