-- Sets a field of a request that is kept.
--
-- KEYS[1]: the hash of the request
-- ARGV: field, value
-- Returns: whether there is such a request
--
-- Atomic, for a hash that was evicted in between would be born again without a fingerprint, and
-- never end.
if redis.call('EXISTS', KEYS[1]) == 0 then
    return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
