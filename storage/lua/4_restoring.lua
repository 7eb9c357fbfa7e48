-- Puts back what Postgres knows of a decision: its contacts, its outcomes, and while it is open the decision itself.
-- keys: decision, pending, contact, mark of its withdrawal, unconfirmed
-- args: id, until, ttl_ms, history_ms, decided at, state (open, expired, withdrawn), confirm until ("" if that is not
--       needed any more), contacts, then for each contact: offer if it is a reservation that may have been released
--       meanwhile, else "", time, member; for each outcome: field, recorded at ("" ends them), then field, value, ... of
--       the decision
-- returns "restored" | "merged" | "withdrawn" | "closed"
local function restore(keys, args)
  local decision, pending, contact, mark, unconfirmed = unpack(keys)
  local id, until_ms, ttl_ms, history_ms, decided_at, state, confirm_until, contacts = unpack(args, 1, 8)
  local here = redis.call('HGET', decision, 'd')
  if state == 'withdrawn' or redis.call('GET', mark) == decided_at then
    if here == decided_at then
      forget(decision, contact, id)
      redis.call('DEL', decision)
      redis.call('ZREM', pending, id)
      redis.call('ZREM', unconfirmed, id)
    end
    return 'withdrawn'
  end
  local at = 9
  for _ = 1, tonumber(contacts) do
    local reserved, time, name = unpack(args, at, at + 2)
    if reserved == '' or here ~= decided_at or not is_released(decision, reserved) then
      remember(contact, time, name, tonumber(history_ms))
    end
    at = at + 3
  end
  local outcomes = at
  while args[at] ~= '' do at = at + 2 end
  if here and here ~= decided_at then return 'closed' end -- the same id of the caller's own names a later decision
  if not here then
    if state ~= 'open' then return 'closed' end
    redis.call('HSET', decision, unpack(args, at + 1))
    redis.call('PEXPIRE', decision, ttl_ms)
    redis.call('ZADD', pending, until_ms, id)
    if confirm_until ~= '' then redis.call('ZADD', unconfirmed, confirm_until, id) end
  end
  for field = outcomes, at - 1, 2 do
    local name, recorded_at = args[field], args[field + 1]
    local offer = string.match(name, '^rel:(.+)$') or string.match(name, '^x:(.+)$') -- x: from earlier versions
    if not offer then
      redis.call('HSETNX', decision, name, recorded_at)
    elseif not is_released(decision, offer) then
      redis.call('HSET', decision, 'rel:' .. offer, recorded_at)
      if here and not answers(decision, offer).any then
        redis.call('ZREM', contact, member(decided_offer(decision, offer), 'd', id))
        redis.call('ZREM', unconfirmed, id)
      end
    end
  end
  if state == 'expired' then
    redis.call('HSET', decision, 's', 'expired')
    redis.call('ZREM', pending, id)
    redis.call('ZREM', unconfirmed, id)
  end
  return here and 'merged' or 'restored'
end

local function precedes(a_ms, a_sequence, b_ms, b_sequence)
  return a_ms < b_ms or (a_ms == b_ms and a_sequence < b_sequence)
end

-- Makes a stream that lost its end go on behind the position that is archived: with a mark at that position, and then
-- with those of its entries that are not archived, in their order. Entries that would come before it move behind it.
-- Decisions that wait are told where their records are then.
-- keys: log, decisions (what the keys of the bucket's waiting decisions begin with)
-- args: last position that the stream has given out ("0-0" if there is none), archived position, positions to keep
-- returns "ok" | "conflict"
local function resume(keys, args)
  local log, decisions = unpack(keys)
  local last, expected, archived = '0-0', unpack(args, 1, 2)
  if redis.call('EXISTS', log) == 1 then
    local info = redis.call('XINFO', 'STREAM', log)
    for i = 1, #info, 2 do
      if info[i] == 'last-generated-id' then last = info[i + 1] end
    end
  end
  if last ~= expected then return 'conflict' end
  local kept = {}
  for i = 3, #args do kept[#kept + 1] = redis.call('XRANGE', log, args[i], args[i])[1] end
  redis.call('DEL', log)
  redis.call('XADD', log, archived, 't', 'start')
  local ms, sequence = string.match(archived, '^(%d+)-(%d+)$')
  ms, sequence = tonumber(ms), tonumber(sequence)
  for _, entry in ipairs(kept) do
    local own_ms, own_sequence = string.match(entry[1], '^(%d+)-(%d+)$')
    own_ms, own_sequence = tonumber(own_ms), tonumber(own_sequence)
    if precedes(ms, sequence, own_ms, own_sequence) then
      ms, sequence = own_ms, own_sequence
    else
      sequence = sequence + 1
    end
    local position, record = string.format('%.0f-%.0f', ms, sequence), {}
    redis.call('XADD', log, position, unpack(entry[2]))
    for i = 1, #entry[2], 2 do record[entry[2][i]] = entry[2][i + 1] end
    if record.t == 'decided' then
      local decision = decisions .. record.id
      local known = hmget(decision, { 'd', 'x' })
      if known.x and marked_position(known.x, known.d) == entry[1] then
        redis.call('HSET', decision, 'x', position_mark(position, known.d))
      end
    end
  end
  return 'ok'
end

-- Notes that a server holds all it should of a bucket.
-- keys: whole
-- args: run id of the server
local function mark_whole(keys, args)
  redis.call('SET', keys[1], args[1])
  return 'ok'
end

-- Notes that a version of these functions is in use.
-- keys: functions
-- args: library, now
local function note_use(keys, args)
  redis.call('HSET', keys[1], args[1], args[2])
  return 'ok'
end
