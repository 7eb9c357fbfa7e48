-- Visitors who became part of a customer, in another bucket. The hash of such an alias has
--   to the customer, hh the household that the customer belonged to then, if any, v a number that grows with each change of the contacts that the visitor's bucket still makes,
--   -<member> 1 for each contact that was taken back since.
-- Names of visitors whose contacts the customer does not have yet stand in the set of the bucket's handovers.

local VISITOR = 'visitor:'

local function is_visitor(customer) return string.sub(customer, 1, #VISITOR) == VISITOR end

-- Who a visitor is now; false or nil for who is nobody else. alias: nil for who cannot be a visitor.
local function merged_into(alias) return alias and redis.call('HGET', alias, 'to') end

-- Notes that contacts of a customer have changed, if these are to be handed over.
-- aliases: what the keys of the bucket's aliases begin with; removed, again: names of contacts that are gone, and of
-- one that is there again
-- returns the customer if they are, else nil
local function note_changed(aliases, handovers, customer, removed, again)
  if not is_visitor(customer) or redis.call('EXISTS', aliases .. customer) == 0 then return nil end
  local alias = aliases .. customer
  for _, name in ipairs(removed or {}) do redis.call('HSET', alias, '-' .. name, '1') end
  if again then redis.call('HDEL', alias, '-' .. again) end
  redis.call('HINCRBY', alias, 'v', 1)
  redis.call('SADD', handovers, customer)
  return customer
end

-- Makes a visitor an alias: from now on, nothing is added to what the visitor's events told.
-- keys: alias, handovers
-- args: visitor, customer, now, household of the customer ("" for none)
-- returns the customer whose alias it is
local function redirect(keys, args)
  local alias, handovers = unpack(keys)
  local visitor, customer, now, household = unpack(args)
  local known = merged_into(alias)
  if known then return known end
  -- It begins with the time, so that it grows also where Redis has lost what it was.
  redis.call('HSET', alias, 'to', customer, 'v', now)
  if household ~= '' then redis.call('HSET', alias, 'hh', household) end
  redis.call('SADD', handovers, visitor)
  return customer
end

-- Adds contacts of an alias to those of a customer, and takes away those that were taken back. From who is an alias in turn
-- and had them in between they are only taken away: else that one would hand them on again.
-- keys: contact, absorbed, alias (of the customer)
-- args: visitor, version of what is told, how long contacts (ms) and what is noted of aliases (ms) are kept, contacts, then
--       each as time and member, then members that were taken back
-- returns {"ok"} | {"known"} | {"moved", customer}
local function unite(keys, args)
  local contact, absorbed, alias = unpack(keys)
  local visitor, version, keep_ms, noted_ms, count = unpack(args, 1, 5)
  local first = 6 + 2 * tonumber(count)
  local to = merged_into(alias)
  if to then
    for i = 7, first - 1, 2 do redis.call('HDEL', alias, '-' .. args[i]) end
    for i = first, #args do
      if redis.call('ZREM', contact, args[i]) == 1 then
        redis.call('HSET', alias, '-' .. args[i], '1')
        redis.call('HINCRBY', alias, 'v', 1) -- who is handing them on at this moment does so anew
      end
    end
    return { 'moved', to }
  end
  local known = redis.call('HGET', absorbed, 'c:' .. visitor)
  if known and tonumber(known) >= tonumber(version) then return { 'known' } end
  for i = 6, first - 1, 2 do remember(contact, args[i], args[i + 1], tonumber(keep_ms)) end
  for i = first, #args do redis.call('ZREM', contact, args[i]) end
  redis.call('HSET', absorbed, 'c:' .. visitor, version)
  redis.call('PEXPIRE', absorbed, noted_ms)
  return { 'ok' }
end

-- Replaces what a customer's events told by that and what those of an alias told, once.
-- keys: state, ids, absorbed, alias (of the customer)
-- args: visitor, state as it was read ("" for none), new state ("" for none), how long it is kept (ms), until when ids are
--       kept (Unix ms), how long what is noted of aliases is kept (ms), aliases that the visitor had, each of these, then
--       ids of events, each as time and mark
-- returns {"ok"} | {"known"} | {"conflict"} | {"moved", customer}
local function absorb(keys, args)
  local state, ids, absorbed, alias = unpack(keys)
  local visitor, expected, packed, state_ms, ids_until, noted_ms, count = unpack(args, 1, 7)
  -- Before anything else: what was added to it is handed on with all else.
  if redis.call('HEXISTS', absorbed, 'e:' .. visitor) == 1 then return { 'known' } end
  local to = merged_into(alias)
  if to then return { 'moved', to } end
  if (redis.call('GET', state) or '') ~= expected then return { 'conflict' } end
  if packed ~= '' then redis.call('SET', state, packed, 'PX', state_ms) end
  local first = 8 + tonumber(count)
  redis.call('HSET', absorbed, 'e:' .. visitor, '1')
  for i = 8, first - 1 do redis.call('HSET', absorbed, 'e:' .. args[i], '1') end
  redis.call('PEXPIRE', absorbed, noted_ms)
  for i = first, #args, 2 do redis.call('ZADD', ids, 'NX', args[i], args[i + 1]) end
  if first <= #args then redis.call('PEXPIREAT', ids, ids_until) end
  return { 'ok' }
end

-- Notes that a customer has the contacts of an alias, unless they have changed since.
-- keys: alias, handovers
-- args: visitor, version of what was handed over
-- returns "ok" | "changed"
local function handed_over(keys, args)
  local alias, handovers = unpack(keys)
  local visitor, version = unpack(args)
  if redis.call('HGET', alias, 'v') ~= version then return 'changed' end
  redis.call('SREM', handovers, visitor)
  return 'ok'
end
