-- Appends records that were made elsewhere (imported history, outcomes after a decision has left Redis), once per mark.
-- keys: mark, log, contact, aliases, handovers
-- args: ttl_ms, history_ms, customer ("" without contacts), contacts, then for each contact: time, member; then for each record: number of fields and
--       values, fields and values
-- returns "ok" | "duplicate"
local function append(keys, args)
  local mark, log, contact, aliases, handovers = unpack(keys)
  local ttl_ms, history_ms, customer, contacts = unpack(args, 1, 4)
  if not redis.call('SET', mark, '1', 'NX', 'PX', ttl_ms) then return 'duplicate' end
  local at, keep_ms = 5, tonumber(history_ms)
  for _ = 1, tonumber(contacts) do
    local time, name = unpack(args, at, at + 1)
    if keep_ms > 0 then remember(contact, time, name, keep_ms) end
    at = at + 2
  end
  if at > 5 then note_changed(aliases, handovers, customer) end
  while at <= #args do
    local count = tonumber(args[at])
    redis.call('XADD', log, '*', unpack(args, at + 1, at + count))
    at = at + count + 1
  end
  return 'ok'
end

local HIGH_STEP, MAX_LOW = 4294967296, 2147483648
-- Numbers are read and written by the hundred: one at a time, they hold the server up for milliseconds.
local MOST_AT_ONCE = 100
local formats = {} -- of so many numbers; made when they are needed, since a library that is loaded has no string.rep yet

local function format_of(count)
  if not formats[count] then formats[count] = '<' .. string.rep('d', count) end
  return formats[count]
end

-- Adds a part of an arm's state, as it stands from a byte on, to a part of another. Returns nil if a sum is beyond MAX_LOW.
local function sum_part(old, delta, from, format, count)
  local sums = { struct.unpack(format, delta, from) } -- and, last, where the next part begins
  local before = old and { struct.unpack(format, old, from) }
  for i = 1, count do
    local total = sums[i]
    if before then total = before[i] + total end
    if total >= MAX_LOW or total < -MAX_LOW then return nil end
    sums[i] = total
  end
  return struct.pack(format, unpack(sums, 1, count))
end

-- Adds to the state of an arm where neither has high parts, and the sum needs none. Returns nil if it does: see sum.
local function sum_low(old, delta)
  if old and #old > #delta then return nil end
  local parts = {}
  for from = 1, #delta, 8 * MOST_AT_ONCE do
    local count = math.min(MOST_AT_ONCE, (#delta - from + 1) / 8)
    local part = sum_part(old, delta, from, format_of(count), count)
    if not part then return nil end
    parts[#parts + 1] = part
  end
  return table.concat(parts)
end

-- Adds to the state of an arm. Sums beyond MAX_LOW keep a high part, a multiple of HIGH_STEP, so that they stay exact: a
-- state with any is its low parts, its high parts, and HIGH_STEP (bandits/state.py, add_exactly, does the same).
local function sum(old, delta)
  local simple = sum_low(old, delta)
  if simple then return simple end
  local count = #delta / 8
  local had_high = old and #old > #delta
  local low, high, any = {}, {}, false
  for i = 1, count do
    local at = (i - 1) * 8 + 1
    local total, above = struct.unpack('<d', delta, at), 0
    if old then total = struct.unpack('<d', old, at) + total end
    if had_high then above = struct.unpack('<d', old, at + #delta) end
    if total >= MAX_LOW or total < -MAX_LOW then
      local carry = math.floor((total + MAX_LOW) / HIGH_STEP) * HIGH_STEP
      total, above = total - carry, above + carry
    end
    if above ~= 0 then any = true end
    low[i], high[i] = struct.pack('<d', total), above
  end
  if not any then return table.concat(low) end
  for i = 1, count do high[i] = struct.pack('<d', high[i]) end
  return table.concat(low) .. table.concat(high) .. struct.pack('<d', HIGH_STEP)
end

-- Moves buckets to new positions, in what is written to arms, if the positions are the expected ones. args, from at on: buckets,
-- then for each bucket: number, expected position, new position. Returns the positions as they are pushed, and where the next
-- argument is; or nil, and the bucket and the position that does not fit.
local function move(arms, args, at, written)
  local positions, behind = {}, at + 1 + 3 * tonumber(args[at])
  for first = at + 1, behind - 1, 3 do
    local bucket, expected, new = unpack(args, first, first + 2)
    local position = redis.call('HGET', arms, '@' .. bucket) or '0-0'
    if position ~= expected then return nil, bucket, position end
    positions[#positions + 1] = bucket .. ' ' .. new
    written[#written + 1], written[#written + 2] = '@' .. bucket, new
  end
  return table.concat(positions, ','), behind
end

-- Writes fields, and pushes them.
local function write(arms, changes, epoch, written, change)
  redis.call('HSET', arms, unpack(written))
  redis.call('XADD', changes, string.format('%.0f-1', epoch), unpack(change))
  return { 'ok', epoch }
end

-- Adds to arms, only if they were not reset since they were read, and every bucket's position is the expected one.
-- keys: arms, changes
-- args: first epoch of the generation, first of the next one, buckets, then for each bucket: number, expected position,
--       new position; then field, delta, ...
-- returns {"ok", epoch} | {"reset"} | {"conflict", bucket, position} | {"missing"}
local function fold(keys, args)
  local arms, changes = keys[1], keys[2]
  local first_epoch, next_epoch = unpack(args, 1, 2)
  local epoch = tonumber(redis.call('HGET', arms, 'epoch') or '-1')
  if epoch < 0 then return { 'missing' } end
  if epoch < tonumber(first_epoch) or epoch >= tonumber(next_epoch) then return { 'reset' } end
  epoch = epoch + 1
  local written = { 'epoch', string.format('%.0f', epoch) }
  local positions, at, position = move(arms, args, 3, written)
  if not positions then return { 'conflict', at, position } end
  local change = { 'p', positions }
  for field = at, #args, 2 do
    local name, delta = args[field], args[field + 1]
    local state = sum(redis.call('HGET', arms, name), delta)
    written[#written + 1], written[#written + 2] = name, state
    change[#change + 1], change[#change + 2] = name, state
  end
  return write(arms, changes, epoch, written, change)
end

-- Stores states of arms that were added up elsewhere, from what was stored at an epoch, only if nothing has changed since.
-- The server does not add, so this takes it a small part of the time of fold.
-- keys: arms, changes
-- args: epoch, buckets, then for each bucket: number, expected position, new position; then field, state, ...
-- returns {"ok", epoch} | {"conflict"}
local function put(keys, args)
  local arms, changes = keys[1], keys[2]
  if redis.call('HGET', arms, 'epoch') ~= args[1] then return { 'conflict' } end
  local epoch = tonumber(args[1]) + 1
  local written = { 'epoch', string.format('%.0f', epoch) }
  local positions, at = move(arms, args, 2, written)
  if not positions then return { 'conflict' } end
  local change = { 'p', positions }
  for field = at, #args do
    written[#written + 1], change[#change + 1] = args[field], args[field]
  end
  return write(arms, changes, epoch, written, change)
end

-- Gives a policy's model an owner, or renews its ownership, for a time. Each new owner gets a higher token.
-- keys: lease, fence
-- args: owner, ttl_ms
-- returns the token, or "" if somebody else is the owner
local function own(keys, args)
  local lease, fence = unpack(keys)
  local owner, ttl_ms = unpack(args)
  local held = redis.call('GET', lease)
  if held then
    local token, present = string.match(held, '^(%d+) (.+)$')
    if present ~= owner then return '' end
    redis.call('PEXPIRE', lease, ttl_ms)
    return token
  end
  local time = redis.call('TIME')
  local now_us = tonumber(time[1]) * 1e6 + tonumber(time[2])
  -- The time, so that tokens go on rising should Redis have lost the last one.
  local token = string.format('%.0f', math.max(tonumber(redis.call('GET', fence) or '0') + 1, now_us))
  redis.call('SET', fence, token)
  redis.call('SET', lease, token .. ' ' .. owner, 'PX', ttl_ms)
  return token
end

-- Gives ownership up.
-- keys: lease
-- args: owner
-- returns "ok" | "other"
local function disown(keys, args)
  local lease, owner = keys[1], args[1]
  local held = redis.call('GET', lease)
  if not held or string.match(held, '^%d+ (.+)$') ~= owner then return 'other' end
  redis.call('DEL', lease)
  return 'ok'
end

-- Stores the model that has learned up to new positions, only if nobody has owned it since, and the stored one is the one
-- that it was made of. An empty model: nothing was learned, and the stored one stays.
-- keys: arms, changes, fence
-- args: token, expected epoch, buckets, then for each bucket: number, expected position, new position; then model
-- returns {"ok", epoch} | {"fenced"} | {"conflict"}
local function replace(keys, args)
  local arms, changes, fence = unpack(keys)
  local token, expected_epoch = unpack(args, 1, 2)
  if redis.call('GET', fence) ~= token then return { 'fenced' } end
  local stored = redis.call('HGET', arms, 'epoch')
  if stored ~= expected_epoch then return { 'conflict' } end
  local epoch = tonumber(stored) + 1
  local written = { 'epoch', string.format('%.0f', epoch) }
  local positions, at = move(arms, args, 3, written)
  if not positions then return { 'conflict' } end
  local model, change = args[at], { 'p', positions }
  if model ~= '' then
    written[#written + 1], written[#written + 2] = 'model', model
    change[#change + 1], change[#change + 2] = 'model', ''
  end
  return write(arms, changes, epoch, written, change)
end

-- Replaces all arms, as after a rebuild from Postgres. Replicas see the mark and read everything again.
-- keys: arms, changes
-- args: expected epoch (-1 for none), epoch, positions ("<bucket> <position>,..."), then field, state, ...
-- returns "ok" | "conflict"
local function reset(keys, args)
  local arms, changes = keys[1], keys[2]
  local expected, epoch, positions = unpack(args, 1, 3)
  if expected ~= (redis.call('HGET', arms, 'epoch') or '-1') then return 'conflict' end
  redis.call('DEL', arms, changes)
  redis.call('HSET', arms, 'epoch', epoch)
  for _, pair in ipairs(split(positions)) do
    local bucket, position = string.match(pair, '^(%d+) (.+)$')
    redis.call('HSET', arms, '@' .. bucket, position)
  end
  for at = 4, #args, 2 do redis.call('HSET', arms, args[at], args[at + 1]) end
  redis.call('XADD', changes, epoch .. '-1', 'reset', '1', 'p', positions)
  return 'ok'
end
