-- Takes between need and want tokens from a bucket, as many as there are, or none: the
-- arithmetic of limiter.rate, in microseconds of this server's clock. All numbers are
-- integers below 2^53, and so are all products: what is divided and rounded is exact.
-- KEYS: the bucket. ARGV: span, tokens, depth, need, want.
-- Answers with what was taken, when, and when the bucket is full again.
local span, tokens, depth = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local need, want = tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
-- A bucket is when it is full again, and the depth of who wrote that: where hosts have
-- different rules of one name, a debt that is deep for one of them is none the less true.
-- What is later than any of them can have written is of a clock that was set back since.
local stored, deep = string.match(redis.call('GET', KEYS[1]) or '0 0', '^(%d+) (%d+)$')
stored, deep = tonumber(stored) or 0, math.max(tonumber(deep) or 0, depth)
local tat = math.min(math.max(stored, now), now + deep)

local n = math.min(want, math.floor((now + depth - tat) * tokens / span))
if n < need then
  n = 0
end
tat = tat + math.ceil(n * span / tokens)
if n > 0 then
  deep = depth
end
-- Also a refusal is written down if a clock was set back: or the bucket would stay
-- empty until it has caught up.
if n > 0 or stored > tat then
  redis.call('SET', KEYS[1], string.format('%.0f %.0f', tat, deep), 'PXAT', string.format('%.0f', math.ceil(tat / 1000)))
end
return {n, now, tat}
