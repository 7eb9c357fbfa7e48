-- Steps that put a customer's part of a bucket under a pseudonym.

local COPIED_TOGETHER = 500

-- Replaces entries of a stream at their positions, which XADD cannot do: the stream is copied entry by entry, and takes
-- the place of the old one in the same step. Positions, and the last one that was given out, stay as they are.
-- keys: log, a name beside it that nobody uses
-- args: for each entry: position, the number of its fields' names and values, these; positions that are gone are skipped
-- returns how many were replaced
local function rewrite(keys, args)
  local log, copy = unpack(keys)
  if redis.call('EXISTS', log) == 0 then return 0 end
  local new, at = {}, 1
  while at <= #args do
    local count = tonumber(args[at + 1])
    new[args[at]] = { unpack(args, at + 2, at + 1 + count) }
    at = at + 2 + count
  end
  local last
  local info = redis.call('XINFO', 'STREAM', log)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
  end
  redis.call('DEL', copy)
  local first, replaced, entries = '-', 0, nil
  repeat
    entries = redis.call('XRANGE', log, first, '+', 'COUNT', COPIED_TOGETHER)
    for _, entry in ipairs(entries) do
      local fields = new[entry[1]]
      if fields then replaced = replaced + 1 end
      redis.call('XADD', copy, entry[1], unpack(fields or entry[2]))
      first = '(' .. entry[1]
    end
  until #entries < COPIED_TOGETHER
  if replaced == 0 then
    redis.call('DEL', copy)
    return 0
  end
  redis.call('XSETID', copy, last)
  redis.call('RENAME', copy, log)
  return replaced
end

-- Gives a waiting decision another customer, header and facts, if it is still that customer's.
-- keys: decision
-- args: customer, pseudonym, header, facts ("" for none)
-- returns 1 if it did, else 0
local function pseudonymise(keys, args)
  local decision = keys[1]
  local customer, pseudonym, header, facts = unpack(args)
  if waiting(decision, { 'd', 'p', 'cu' }).cu ~= customer then return 0 end
  -- Earlier versions called it c (see 0_library.lua); where there is a cu, that is what counts.
  redis.call('HSET', decision, redis.call('HEXISTS', decision, 'cu') == 1 and 'cu' or OLD_NAMES.cu, pseudonym)
  redis.call('HDEL', decision, 'hh')
  if redis.call('HEXISTS', decision, 'h') == 1 then redis.call('HSET', decision, 'h', header) end
  if redis.call('HEXISTS', decision, 'f') == 1 then
    if facts == '' then redis.call('HDEL', decision, 'f') else redis.call('HSET', decision, 'f', facts) end
  end
  return 1
end
