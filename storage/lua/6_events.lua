-- Events of customers, and what they tell: a small value for each customer, packed by MessagePack, that maps fields to
--   {index, amount, index, amount, ...}, sorted by index: sums by tile of time, amounts in whole millionths, or
--   {index, event, value}: what is remembered of the event with the greatest index.
-- What is remembered of a case is in a field of its own, "<cases>/<case>": of those with the same text before the "/" the newest
-- are kept, so many as its increment says.
-- The same as apply in profiles/events/fold.py. Amounts are whole numbers: sums below 2^53 do not depend on an order.

local function add_to_tiles(tiles, index, amount, keep)
  local newest = tiles[#tiles - 1] or index
  if index <= newest - keep then return tiles end
  local at = #tiles - 1
  while at >= 1 and tiles[at] > index do at = at - 2 end
  if at >= 1 and tiles[at] == index then
    tiles[at + 1] = tiles[at + 1] + amount
  else
    table.insert(tiles, at + 2, index)
    table.insert(tiles, at + 3, amount)
  end
  if index <= newest then return tiles end
  local kept = {}
  for i = 1, #tiles, 2 do
    if tiles[i] > index - keep then
      kept[#kept + 1] = tiles[i]
      kept[#kept + 1] = tiles[i + 1]
    end
  end
  return kept
end

-- Texts are compared byte by byte, as Python compares them, whatever the server's locale says.
local function precedes_text(a, b)
  local shorter = math.min(#a, #b)
  for i = 1, shorter do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

local function later(last, at, id)
  return at > last[1] or (at == last[1] and precedes_text(last[2], id))
end

-- Drops the oldest case of those that a field belongs to, if there are more than are kept.
local function drop_oldest_case(known, field, keep)
  local cases, count, oldest = string.match(field, '^[^/]*/'), 0, nil
  for name, entry in pairs(known) do
    if string.sub(name, 1, #cases) == cases then
      count = count + 1
      local before = oldest and known[oldest]
      if not before or entry[1] < before[1] or (entry[1] == before[1] and precedes_text(name, oldest)) then oldest = name end
    end
  end
  if count > keep then known[oldest] = nil end
end

-- The state of a customer. One that cannot be read begins anew: a rebuild makes it whole.
local function unpacked(packed)
  local is_read, known = pcall(cmsgpack.unpack, packed or '')
  return is_read and type(known) == 'table' and known or {}
end

-- Records an event: remembers its id, appends it to the log, changes what is known of the customer.
-- keys: log, state, ids (of the customer's events, by time), contact, alias (of visitors alone)
-- args: mark of the id, id, customer, type, occurred at, now, properties (JSON), time from which ids are remembered (ms),
--       how long the state (ms) and contacts (ms, 0 for none) are kept, the household that has the contacts as well ("" for
--       none), contacts, then each contact (member of the history),
--       and for each increment: field, index, amount, keep, value ("" for a sum)
-- returns "recorded" | "duplicate" | {"moved", customer} (the visitor is an alias by now)
local function record_event(keys, args)
  local log, state, ids, contact, alias = unpack(keys)
  local mark, id, customer, kind, at, now, properties, since, state_ms, contact_ms, household, contacts = unpack(args, 1, 12)
  local first = 13 + tonumber(contacts)
  local to = merged_into(alias)
  if to then return redis.call('ZSCORE', ids, mark) and 'duplicate' or { 'moved', to } end
  local known = #args >= first and unpacked(redis.call('GET', state)) or {}
  if redis.call('ZADD', ids, 'NX', at, mark) == 0 then return 'duplicate' end
  redis.call('ZREMRANGEBYSCORE', ids, '-inf', '(' .. since)
  redis.call('PEXPIREAT', ids, string.format('%.0f', tonumber(now) + (tonumber(now) - tonumber(since))))
  local members = {}
  if first > 13 and tonumber(contact_ms) > 0 then
    redis.call('ZREMRANGEBYSCORE', contact, '-inf', string.format('%.0f', tonumber(now) - tonumber(contact_ms)))
  end
  for i = 13, first - 1 do
    members[#members + 1] = args[i]
    if tonumber(contact_ms) > 0 then
      remember(contact, string.format('%.0f', math.min(tonumber(at), tonumber(now))), args[i], tonumber(contact_ms))
    end
  end
  local record = { 't', 'event', 'id', id, 'cu', customer, 'k', kind, 'at', at, 'ts', now, 'pr', properties }
  if #members > 0 then record[#record + 1], record[#record + 2] = 'cm', table.concat(members, '\n') end
  if household ~= '' then record[#record + 1], record[#record + 2] = 'hh', household end
  redis.call('XADD', log, '*', unpack(record))
  if #args < first then return 'recorded' end

  for i = first, #args, 5 do
    local field, index, amount, keep, value = unpack(args, i, i + 4)
    index = tonumber(index)
    if value == '' then
      known[field] = add_to_tiles(known[field] or {}, index, tonumber(amount), tonumber(keep))
    else
      if not known[field] or later(known[field], index, id) then known[field] = { index, id, value } end
      if tonumber(keep) > 1 then drop_oldest_case(known, field, tonumber(keep)) end
    end
  end
  redis.call('SET', state, cmsgpack.pack(known), 'PX', state_ms)
  return 'recorded'
end

-- Puts back what the archive knows of a customer's events, if the state is still as it was when they were read.
-- keys: state, ids, contact, absorbed
-- args: state as it was read ("" for none), new state ("" for none), how long it is kept (ms), until when ids are kept (Unix
--       ms), how long contacts are kept (ms), how long what is noted of aliases is kept (ms), number of ids and of aliases
--       whose events are among these, then each alias, each id as time and mark, and each contact as time and member
-- returns "ok" | "conflict"
local function restore_events(keys, args)
  local state, ids, contact, absorbed = unpack(keys)
  local expected, packed, state_ms, ids_until, contact_ms, noted_ms, count, aliases = unpack(args, 1, 8)
  if (redis.call('GET', state) or '') ~= expected then return 'conflict' end
  if packed ~= '' then redis.call('SET', state, packed, 'PX', state_ms) end
  local from = 9 + tonumber(aliases)
  local first = from + 2 * tonumber(count)
  for i = 9, from - 1 do redis.call('HSET', absorbed, 'e:' .. args[i], '1') end
  if from > 9 then redis.call('PEXPIRE', absorbed, noted_ms) end
  for i = from, first - 1, 2 do redis.call('ZADD', ids, 'NX', args[i], args[i + 1]) end
  if first > from then redis.call('PEXPIREAT', ids, ids_until) end
  for i = first, #args, 2 do remember(contact, args[i], args[i + 1], tonumber(contact_ms)) end
  return 'ok'
end
