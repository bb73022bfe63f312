-- Prints what wrk measured, for a program to read: totals, then every latency in microseconds with its count.
function done(summary, latency)
   local errors = summary.errors
   print(string.format("shunt-totals %d %d %d", summary.duration, summary.requests,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout))
   for i = 1, #latency do
      local value, count = latency(i)
      print(string.format("shunt-latency %d %d", value, count))
   end
end
