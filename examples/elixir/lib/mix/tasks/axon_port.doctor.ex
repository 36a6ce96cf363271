defmodule Mix.Tasks.AxonPort.Doctor do
  @shortdoc "Checks that a worker can be started here"

  @moduledoc """
  Checks that a worker can be started here, and says what to do if not.

      mix axon_port.doctor
      mix axon_port.doctor --command "/opt/venv/bin/axon-port --log-level debug"

  Without `--command` it looks where a worker without a `:command` does: at `$AXON_PORT_PYTHON -m axon_port`,
  `axon-port` on the `PATH`, `python3 -m axon_port`. What is checked stands in `AxonPort.PythonEnv`. The task fails if a
  check does.
  """

  use Mix.Task

  alias AxonPort.PythonEnv

  @impl true
  def run(arguments) do
    {options, [], []} = parse!(arguments)
    command = if options[:command], do: [command: OptionParser.split(options[:command])], else: []

    {outcome, checks} = PythonEnv.check(command)
    Mix.shell().info(PythonEnv.format(checks))

    if outcome == :error, do: Mix.raise("a worker cannot be started here: see the check that failed")
  end

  defp parse!(arguments) do
    case OptionParser.parse(arguments, strict: [command: :string]) do
      {_options, [], []} = parsed -> parsed
      _wrong -> Mix.raise("axon_port.doctor takes --command and nothing else")
    end
  end
end
