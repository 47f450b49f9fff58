# The alert for late mails, by the rules alone: Prometheus 2 keeps "le" of a histogram as
# the exporter writes it, 60, and Prometheus 3 makes it 60.0.

use strict;
use warnings;

use BS::Test;
use BS::Watch;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $rules = abs_path(dirname(__FILE__) . '/../../monitoring/rules/birthday_scheduler.yaml');

# Of ten mails a minute so many leave within a minute: does the alert fire after a while?
sub fires
{
	my ($le, $in_time, $wanted) = @_;
	my $file = scratch_dir() . "/late_${le}_$in_time.yaml";
	my $said = '';

	PostgreSQL::Test::Utils::append_to_file($file, <<"YAML");
rule_files: ['$rules']
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: 'birthday_scheduler_lateness_seconds_bucket{server="s", le="$le"}'
        values: '0+${in_time}x30'
      - series: 'birthday_scheduler_lateness_seconds_bucket{server="s", le="+Inf"}'
        values: '0+10x30'
      - series: 'birthday_scheduler_lateness_seconds_count{server="s"}'
        values: '0+10x30'
    promql_expr_test:
      - expr: 'count(ALERTS{alertname="BirthdaySchedulerLate", alertstate="firing"}) or vector(0)'
        eval_time: 20m
        exp_samples: [{labels: '{}', value: $wanted}]
YAML
	ok( IPC::Run::run([ BS::Watch::programs() . '/promtool', 'test', 'rules', $file ], '<', \undef, '>&', \$said),
		"le=$le, $in_time of 10 within a minute: the alert " . ($wanted ? 'fires' : 'does not fire'))
	  or diag $said;
	return;
}

foreach my $le ('60', '60.0')
{
	fires($le, 5, 1);
	fires($le, 10, 0);
}
# Others must not be taken for it.
fires($_, 5, 0) foreach '600', '60.5';

done_testing();
