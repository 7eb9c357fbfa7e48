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

-- Gives a policy's model an owner, or renews its ownership, for a time. Each new owner gets a higher token.
-- keys: lease, fence
-- args: owner, ttl_ms
-- returns the token, or "" if somebody else is the owner
local function own(keys, args)
  local held = redis.call('GET', keys[1])
  if held then
    local token, owner = string.match(held, '^(%d+) (.+)$')
    if owner ~= args[1] then return '' end
    redis.call('PEXPIRE', keys[1], args[2])
    return token
  end
  local time = redis.call('TIME')
  local now_us = tonumber(time[1]) * 1e6 + tonumber(time[2])
  -- The time, so that tokens go on rising should Redis have lost the last one.
  local token = string.format('%.0f', math.max(tonumber(redis.call('GET', keys[2]) or '0') + 1, now_us))
  redis.call('SET', keys[2], token)
  redis.call('SET', keys[1], token .. ' ' .. args[1], 'PX', args[2])
  return token
end

-- Gives ownership up.
-- keys: lease
-- args: owner
-- returns "ok" | "other"
local function disown(keys, args)
  local held = redis.call('GET', keys[1])
  if not held or string.match(held, '^%d+ (.+)$') ~= args[1] then return 'other' end
  redis.call('DEL', keys[1])
  return 'ok'
end

-- Stores the model that has learned up to new positions, only if nobody has owned it since, and the stored one is the one
-- that it was made of. An empty model: nothing was learned, and the stored one stays.
-- keys: arms, changes, fence
-- args: token, expected epoch, buckets, then for each bucket: number, expected position, new position; then model
-- returns {"ok", epoch} | {"fenced"} | {"conflict"}
local function replace(keys, args)
  local arms, changes = keys[1], keys[2]
  if redis.call('GET', keys[3]) ~= args[1] then return { 'fenced' } end
  local stored = redis.call('HGET', arms, 'epoch')
  if stored ~= args[2] then return { 'conflict' } end
  local buckets, positions, written = tonumber(args[3]), {}, {}
  for i = 0, buckets - 1 do
    local bucket, expected, new = args[4 + 3 * i], args[5 + 3 * i], args[6 + 3 * i]
    if (redis.call('HGET', arms, '@' .. bucket) or '0-0') ~= expected then return { 'conflict' } end
    positions[#positions + 1] = bucket .. ' ' .. new
    written[#written + 1], written[#written + 2] = '@' .. bucket, new
  end
  local model = args[4 + 3 * buckets]
  local epoch = tonumber(stored) + 1
  local change = { 'p', table.concat(positions, ',') }
  written[#written + 1], written[#written + 2] = 'epoch', string.format('%.0f', epoch)
  if model ~= '' then
    written[#written + 1], written[#written + 2] = 'model', model
    change[#change + 1], change[#change + 2] = 'model', ''
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
