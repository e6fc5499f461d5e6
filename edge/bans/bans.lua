-- Who is banned until when, and changes of it.
--
-- KEYS  1: a sorted set of subscribers by the millisecond, of the server's clock, at which each ban ends.
--       2: the number of the last change. It grows with the clock, so that a store that was emptied repeats none.
-- ARGV  the change that the caller knows, then pairs: subscriber, milliseconds of its ban (0 lifts it).
-- Answer: {change} when that is what the caller knows, else {change, subscriber, milliseconds left, ...} of all bans.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

for i = 2, #ARGV, 2 do
  local milliseconds = tonumber(ARGV[i + 1])
  if milliseconds > 0 then
    redis.call('ZADD', KEYS[1], now + milliseconds, ARGV[i])
  else
    redis.call('ZREM', KEYS[1], ARGV[i])
  end
end

if #ARGV > 1 then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
  local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  local keep = (last[2] and last[2] - now or 0) + 60000
  if last[2] then redis.call('PEXPIRE', KEYS[1], keep) end
  local change = math.max(now, (tonumber(redis.call('GET', KEYS[2])) or 0) + 1)
  redis.call('SET', KEYS[2], string.format('%.0f', change), 'PX', string.format('%.0f', keep))
end

local answer = {redis.call('GET', KEYS[2]) or ''}
if answer[1] == ARGV[1] then return answer end
local bans = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', now), '+inf', 'WITHSCORES')
for i = 1, #bans, 2 do
  answer[#answer + 1] = bans[i]
  answer[#answer + 1] = math.ceil(bans[i + 1] - now)
end
return answer
