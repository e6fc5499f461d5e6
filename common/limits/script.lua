-- Sliding-window log, all or nothing over several rules of one subject.
--
-- KEYS  one list per rule: the server times (microseconds) of the calls that count, oldest first. A call of
--       cost c stands in it c times, so the length is what has been used. All keys share one hash tag.
-- ARGV  limit, window in microseconds, cost: three per key.
-- Answer: {admitted, clock, used, leaves, wait, used, leaves, wait, ...}: 1 or 0, the server's time, then per key what
--       is used now, the time at which its oldest call leaves the window, and how long until this cost fits (0: now).
--
-- A call at time t counts in [t, t + window). Nothing is written for a refused call except that expired times go.
-- If the first write is refused (out of memory, replica) nothing has been recorded; after it no write is refused.

local call = redis.call

local function time_at(key, index)
  return tonumber(call('LINDEX', key, index))
end

local function is_expired(key, index, horizon)
  local at = time_at(key, index)
  return at and at <= horizon
end

-- Gallops, then bisects: a long list that expired at once must not hold the server for its whole length.
local function drop_expired(key, horizon)
  if not is_expired(key, 0, horizon) then return end
  local expired, bound = 0, 1
  while is_expired(key, bound, horizon) do
    expired, bound = bound, bound * 2
  end
  while bound - expired > 1 do
    local middle = math.floor((expired + bound) / 2)
    if is_expired(key, middle, horizon) then expired = middle else bound = middle end
  end
  call('LTRIM', key, bound, -1)
end

-- In pieces, because Lua cannot pass arbitrarily many arguments.
local function push(key, stamp, count)
  local stamps = {}
  for i = 1, math.min(count, 1000) do stamps[i] = stamp end
  while count > 0 do
    local piece = math.min(count, 1000)
    call('RPUSH', key, unpack(stamps, 1, piece))
    count = count - piece
  end
end

local time = call('TIME')
local clock = tonumber(time[1]) * 1000000 + tonumber(time[2])

-- A clock set back must not unsort a list: time stands still until it has caught up. Set back by more than a whole
-- window, the old times say nothing any more.
local now = clock
local rules = {}
for i, key in ipairs(KEYS) do
  local limit, window, cost = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  rules[i] = {limit, window, cost}
  local newest = time_at(key, -1)
  if newest and newest > clock + window then
    call('DEL', key)
  elseif newest and newest > now then
    now = newest
  end
end

local answer = {1, clock}
for i, key in ipairs(KEYS) do
  local limit, window, cost = unpack(rules[i])
  drop_expired(key, now - window)
  local used = call('LLEN', key)
  local wait = 0
  if used + cost > limit then
    answer[1] = 0
    wait = time_at(key, used + cost - limit - 1) + window - clock
  end
  answer[3 * i] = used
  answer[3 * i + 1] = (time_at(key, 0) or now) + window
  answer[3 * i + 2] = wait
end
if answer[1] == 0 then return answer end

local stamp = string.format('%.0f', now)
for i, key in ipairs(KEYS) do
  local _, window, cost = unpack(rules[i])
  push(key, stamp, cost)
  call('PEXPIRE', key, math.ceil((now - clock + window) / 1000) + 1000)
  answer[3 * i] = answer[3 * i] + cost
end
return answer
