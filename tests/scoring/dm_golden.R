# Makes dm_golden.csv (errors of two forecasts) and dm_golden_results.csv with forecast::dm.test (version 8.20).
# Run in this folder: Rscript dm_golden.R
suppressMessages(library(forecast))
set.seed(20240229)
n <- 160
noise <- function(sd) as.numeric(stats::filter(rnorm(n + 6, sd = sd), rep(1, 7) / sqrt(7), sides = 1))[7:(n + 6)]
shared <- noise(1)
errors <- data.frame(a = signif(shared + noise(0.4), 12), b = signif(shared + noise(0.7), 12))
results <- list()
for (h in c(1, 2, 7, 16)) for (power in c(1, 2)) {
  test <- function(alternative) dm.test(errors$a, errors$b, alternative = alternative, h = h, power = power)
  results[[length(results) + 1]] <- data.frame(
    h = h, power = power, statistic = unname(test("two.sided")$statistic),
    p_two_sided = test("two.sided")$p.value,
    p_better = test("less")$p.value,  # the lower tail of a minus b: a has the lower loss
    p_worse = test("greater")$p.value)
}
write.table(format(errors, digits = 15), "dm_golden.csv", sep = ",", quote = FALSE, row.names = FALSE)
write.table(format(do.call(rbind, results), digits = 16), "dm_golden_results.csv",
            sep = ",", quote = FALSE, row.names = FALSE)
