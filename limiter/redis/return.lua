-- Gives n tokens back that were granted at some time: limiter.rate.giveBack. What was
-- granted more than ttl ago is left out, and so is what was granted later than now: the
-- clock was set back, or this is another server's, and nobody knows how long ago it was.
-- KEYS: the bucket. ARGV: span, tokens, depth, n, at, ttl. Answers with when the bucket
-- is full again.
local span, tokens, depth = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local n, at, ttl = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local stored, deep = string.match(redis.call('GET', KEYS[1]) or '0 0', '^(%d+) (%d+)$') -- see grant.lua
stored, deep = tonumber(stored) or 0, math.max(tonumber(deep) or 0, depth)
local tat = math.min(math.max(stored, now), now + deep)

local age = now - at
if stored <= now or age < 0 or age > ttl then
  return tat
end
tat = tat - math.max(math.floor(n * span / tokens) - age, 0)
if tat <= now then
  redis.call('DEL', KEYS[1])
  return now
end
redis.call('SET', KEYS[1], string.format('%.0f %.0f', tat, deep), 'PXAT', string.format('%.0f', math.ceil(tat / 1000)))
return tat
