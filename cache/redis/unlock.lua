-- Removes a lock, if it is still that of who asks. KEYS: the lock. ARGV: the token that it was taken with.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
