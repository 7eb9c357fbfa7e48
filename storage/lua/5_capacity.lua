-- Capacity. The argument for its safety is in decisioning/capacity/leasing.py. A pool is a hash: cap, v (catalogue version of the
-- cap), s settled, r released; and for each holder of a lease: l:<holder> leased, u:<holder> used of these, e:<holder>
-- when the lease ends (ms). Where units are used up by what comes of decisions, these hold them: c counted (used up), n how
-- many may be held, and k the catalogue version that these are for, all from one reading of the log with r, which then is
-- what is not held any more. p is the price of a unit, where the last ones are kept for value. Where a function takes "now", "*" stands for the server's own clock.

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
  local pool = keys[1]
  local now, before, settled, released, expires_at = unpack(args)
  if redis.call('EXISTS', pool) == 1 then return 'exists' end
  if before ~= '' and clock(now) >= tonumber(before) then return 'late' end
  redis.call('HSET', pool, 's', settled, 'r', released)
  if expires_at ~= '' then redis.call('PEXPIREAT', pool, expires_at) end
  return 'ok'
end

-- Renews a holder's lease, takes its report, and grants more units if there are any.
-- keys: pool
-- args: now, cap, catalogue version, holder, held (units granted so far), used of these, want, lease_ms, "1" if units are used
--       up by what comes of decisions
-- returns {"ok", granted, ends at, remaining, price} | {"missing"} | {"lapsed"}
local function lease(keys, args)
  local given, asked_cap, version, holder, granted_before, used, want, lease_ms, later = unpack(args)
  local now, held = clock(given), tonumber(granted_before)
  local pool, found = read_pool(keys[1])
  if not found then return { 'missing' } end
  local ends = pool['e:' .. holder]
  if tonumber(pool['l:' .. holder] or '0') ~= held or (ends and now >= tonumber(ends)) then return { 'lapsed' } end

  local cap = tonumber(asked_cap)
  if pool.v and tonumber(version) < tonumber(pool.v) then
    cap = tonumber(pool.cap) -- the asker has not seen the newest catalogue yet
  else
    redis.call('HSET', keys[1], 'cap', asked_cap, 'v', version)
  end
  if pool.n and later == '1' then
    -- Until it has been counted for a newer catalogue, only what is left of its cap may be held.
    local newer = tonumber(version) > tonumber(pool.k)
    cap = newer and math.min(tonumber(pool.n), cap - tonumber(pool.c)) or tonumber(pool.n)
  elseif pool.n or later == '1' then
    cap = 0 -- it has not been counted yet in the way that the catalogue says
  end
  local taken, holders = tonumber(pool.s) - tonumber(pool.r), ends and 0 or 1
  for field, value in pairs(pool) do
    if string.sub(field, 1, 2) == 'l:' then
      taken, holders = taken + tonumber(value), holders + 1
    end
  end
  local remaining = cap - taken
  local fair = math.max(math.ceil(remaining / (4 * holders)), 1)
  local granted = math.max(math.min(tonumber(want), fair, remaining), 0)
  local until_ms = now + tonumber(lease_ms)
  if ends or granted > 0 then
    redis.call('HSET', keys[1], 'l:' .. holder, string.format('%.0f', held + granted), 'u:' .. holder, used,
      'e:' .. holder, string.format('%.0f', until_ms))
  end
  return { 'ok', granted, until_ms, math.max(remaining - granted, 0), pool.p or '0' }
end

-- Ends a lease of which exactly "used" units were used; the others are free again.
-- keys: pool
-- args: now ("" if it may still run), holder, used
-- returns "ok" | "gone" | "early"
local function end_lease(keys, args)
  local pool = keys[1]
  local now, holder, used = unpack(args)
  local ends = redis.call('HGET', pool, 'e:' .. holder)
  if not ends then return 'gone' end
  if now ~= '' and clock(now) < tonumber(ends) then return 'early' end
  redis.call('HINCRBY', pool, 's', used)
  redis.call('HDEL', pool, 'l:' .. holder, 'u:' .. holder, 'e:' .. holder)
  return 'ok'
end

-- The holder gives its lease back. keys: pool; args: holder, used
local function return_lease(keys, args)
  local holder, used = unpack(args)
  return end_lease(keys, { '', holder, used })
end

-- How many units have been released so far, as counted in the log; and where units are used up by what comes of decisions,
-- what else this reading says.
-- keys: pool; args: count, c, n, k (each "" elsewhere; see above)
local function count_released(keys, args)
  local pool = keys[1]
  local count, counted, allowed, version = unpack(args)
  if redis.call('EXISTS', pool) == 0 then return 'gone' end
  redis.call('HSET', pool, 'r', count)
  if allowed == '' then
    redis.call('HDEL', pool, 'c', 'n', 'k')
  else
    redis.call('HSET', pool, 'c', counted, 'n', allowed, 'k', version)
  end
  return 'ok'
end

-- Notes what a unit is worth now. keys: pool; args: price
local function price_units(keys, args)
  local pool, price = keys[1], args[1]
  if redis.call('EXISTS', pool) == 0 then return 'gone' end
  redis.call('HSET', pool, 'p', price)
  return 'ok'
end

-- decide, if the server's clock is before a time.
-- args: before, then those of decide. Returns {"late"} or what decide returns.
local function decide_within(keys, args)
  local before = args[1]
  if clock('*') >= tonumber(before) then return { 'late' } end
  return decide(keys, { unpack(args, 2) })
end
