#!lua name=nextbest

-- The server-side steps of nextbest. Each is atomic: it takes effect entirely or not at all.
-- A decision that waits for outcomes is a hash:
--   h header of its record, c customer, d decided at (ms), u feedback until (ms), k policy, l placement,
--   m presentation, s state, n offers joined by ",", o:<offer> "<number> <prior>", r:<offer>:<outcome> recorded at (ms)
-- Records of the log are described in decisioning/records.py.

local TERMINAL = { accepted = 'rejected', rejected = 'accepted' }
local REWARD = { accepted = '1', rejected = '0' }

local function split(text)
  local parts = {}
  for part in string.gmatch(text, '[^,]+') do parts[#parts + 1] = part end
  return parts
end

-- Contacts with one offer inside a window. Members are "<offer number>:<decision>", scores the time in ms.
local function contacts(key, number, since_ms)
  local count, prefix = 0, number .. ':'
  for _, member in ipairs(redis.call('ZRANGE', key, '(' .. since_ms, '+inf', 'BYSCORE')) do
    if string.sub(member, 1, #prefix) == prefix then count = count + 1 end
  end
  return count
end

-- keys: decision, log, pending, contact
-- args: id, now, until, ttl_ms, history_ms, header, candidates, priors, factors, customer, policy, placement,
--       presentation, offers, then for each offer: id, number, prior, limits, and for each limit: max, window_ms
-- returns {"ok", log id} | {"exists", header} | {"limit", offer, ...}
local function decide(keys, args)
  local decision, log, pending, contact = keys[1], keys[2], keys[3], keys[4]
  local known = redis.call('HGET', decision, 'h')
  if known then return { 'exists', known } end
  local id, now = args[1], tonumber(args[2])
  local history_ms = tonumber(args[5])

  local fields, ids, numbers, blocked = {}, {}, {}, {}
  local at = 15
  for i = 1, tonumber(args[14]) do
    local offer, number = args[at], args[at + 1]
    ids[i], numbers[i] = offer, number
    fields[#fields + 1] = 'o:' .. offer
    fields[#fields + 1] = number .. ' ' .. args[at + 2]
    local limits = tonumber(args[at + 3])
    at = at + 4
    for _ = 1, limits do
      if contacts(contact, number, string.format('%.0f', now - tonumber(args[at + 1]))) >= tonumber(args[at]) then
        blocked[#blocked + 1] = offer
      end
      at = at + 2
    end
  end
  if #blocked > 0 then return { 'limit', unpack(blocked) } end

  if history_ms > 0 and #numbers > 0 then
    redis.call('ZREMRANGEBYSCORE', contact, '-inf', string.format('%.0f', now - history_ms))
    for _, number in ipairs(numbers) do redis.call('ZADD', contact, args[2], number .. ':' .. id) end
    redis.call('PEXPIRE', contact, history_ms)
  end
  redis.call('HSET', decision, 'h', args[6], 'c', args[10], 'd', args[2], 'u', args[3], 'k', args[11],
    'l', args[12], 'm', args[13], 'n', table.concat(ids, ','), unpack(fields))
  redis.call('PEXPIRE', decision, args[4])
  redis.call('ZADD', pending, args[3], id)
  local record = { 't', 'decided', 'id', id, 'h', args[6], 'c', args[7], 'x', args[8] }
  if args[9] ~= '' then record[11], record[12] = 'f', args[9] end
  local position = redis.call('XADD', log, '*', unpack(record))
  return { 'ok', position }
end

-- keys: decision, log
-- args: id, now, offer, outcome, value, occurred at
-- returns {"recorded" | "late" | "duplicate", at} | {"unknown"} | {"not_offered"} | {"contradicts", outcome}
local function feedback(keys, args)
  local decision, log = keys[1], keys[2]
  local id, now, offer, outcome = args[1], tonumber(args[2]), args[3], args[4]
  local field = 'r:' .. offer .. ':'
  local opposite = TERMINAL[outcome]
  local known = redis.call('HMGET', decision, 'd', 'u', 'k', 'l', 's', 'o:' .. offer, field .. outcome,
    field .. (opposite or ''))
  if not known[1] then return { 'unknown' } end
  if not known[6] then return { 'not_offered' } end
  if known[7] then return { 'duplicate', known[7] } end
  if opposite and known[8] then return { 'contradicts', opposite } end

  local late = known[5] or now > tonumber(known[2]) or tonumber(args[6]) > tonumber(known[2])
  local reward = (not late) and REWARD[outcome] or ''
  local number, prior = string.match(known[6], '^(%d+) (.+)$')
  redis.call('HSET', decision, field .. outcome, args[2])
  redis.call('XADD', log, '*', 't', 'outcome', 'id', id, 'o', offer, 'n', number, 'k', outcome, 'v', args[5],
    'at', args[6], 'ts', args[2], 'd', known[1], 'l', late and '1' or '0', 'r', reward, 'q', prior,
    'p', known[3], 'pl', known[4])
  return { late and 'late' or 'recorded', args[2] }
end

-- Closes a decision whose reward window has passed; what was not answered gets the default of its presentation.
-- keys: decision, log, pending
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
  local open = {}
  for _, offer in ipairs(split(known[6])) do
    local field = 'r:' .. offer .. ':'
    local seen = redis.call('HMGET', decision, 'o:' .. offer, field .. 'accepted', field .. 'rejected', field .. 'presented',
      field .. 'clicked')
    if not seen[2] and not seen[3] then
      local shown = known[5] == 'implicit' or seen[4] or seen[5]
      local number, prior = string.match(seen[1], '^(%d+) (.+)$')
      open[#open + 1] = offer .. ' ' .. number .. ' ' .. prior .. ' ' .. (shown and '0' or '-')
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

-- Takes back a decision whose answer could not be delivered as logged. The mark keeps a rebuild from bringing it back.
-- keys: decision, log, pending, contact, mark
-- args: id, now, decided at, ttl of the mark (ms)
local function withdraw(keys, args)
  local decision, log, pending, contact = keys[1], keys[2], keys[3], keys[4]
  local known = redis.call('HMGET', decision, 'd', 'k', 'l', 'n')
  if known[1] ~= args[3] then return 'gone' end
  local offers = {}
  for _, offer in ipairs(split(known[4])) do
    local number, prior = string.match(redis.call('HGET', decision, 'o:' .. offer), '^(%d+) (.+)$')
    offers[#offers + 1] = offer .. ' ' .. number .. ' ' .. prior .. ' -'
    redis.call('ZREM', contact, number .. ':' .. args[1])
  end
  redis.call('XADD', log, '*', 't', 'withdrawn', 'id', args[1], 'd', known[1], 'at', args[2], 'ts', args[2],
    'p', known[2], 'pl', known[3], 'o', table.concat(offers, ','))
  redis.call('SET', keys[5], known[1], 'PX', args[4])
  redis.call('DEL', decision)
  redis.call('ZREM', pending, args[1])
  return 'withdrawn'
end

-- Appends records that were made elsewhere (imported history, outcomes after a decision has left Redis), once per mark.
-- keys: mark, log
-- args: ttl_ms, then for each record: number of fields and values, fields and values
-- returns "ok" | "duplicate"
local function append(keys, args)
  if not redis.call('SET', keys[1], '1', 'NX', 'PX', args[1]) then return 'duplicate' end
  local at = 2
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
-- keys: decision, pending, contact, mark of its withdrawal
-- args: id, until, ttl_ms, history_ms, decided at, state (open, expired, withdrawn), then for each contact: number
--       ("" ends them), for each outcome: field, recorded at ("" ends them), then field, value, ... of the decision
-- returns "restored" | "merged" | "withdrawn" | "closed"
local function restore(keys, args)
  local decision, pending, contact, id, state = keys[1], keys[2], keys[3], args[1], args[6]
  local here = redis.call('HGET', decision, 'd')
  if state == 'withdrawn' or redis.call('GET', keys[4]) == args[5] then
    if here == args[5] then
      redis.call('DEL', decision)
      redis.call('ZREM', pending, id)
    end
    return 'withdrawn'
  end
  local at = 7
  while args[at] ~= '' do
    redis.call('ZADD', contact, args[5], args[at] .. ':' .. id)
    redis.call('PEXPIRE', contact, args[4])
    at = at + 1
  end
  at = at + 1
  local outcomes = at
  while args[at] ~= '' do at = at + 2 end
  if here and here ~= args[5] then return 'closed' end -- the same id of the caller's own names a later decision
  if not here then
    if state ~= 'open' then return 'closed' end
    redis.call('HSET', decision, unpack(args, at + 1))
    redis.call('PEXPIRE', decision, args[3])
    redis.call('ZADD', pending, args[2], id)
  end
  for field = outcomes, at - 1, 2 do redis.call('HSETNX', decision, args[field], args[field + 1]) end
  if state == 'expired' then
    redis.call('HSET', decision, 's', 'expired')
    redis.call('ZREM', pending, id)
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
local function release(keys, args)
  local known = redis.call('HGET', keys[1], 'r')
  if not known then return 'gone' end
  if tonumber(args[1]) > tonumber(known) then redis.call('HSET', keys[1], 'r', args[1]) end
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
redis.register_function('nb_release', release)
redis.register_function('nb_decide_within', decide_within)
redis.register_function('nb_resume', resume)
