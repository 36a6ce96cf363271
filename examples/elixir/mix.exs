defmodule AxonPort.MixProject do
  use Mix.Project

  def project do
    [
      app: :axon_port,
      version: "0.1.0",
      elixir: "~> 1.14",
      elixirc_paths: elixirc_paths(Mix.env()),
      elixirc_options: [warnings_as_errors: true],
      # The codec may be jiffy of the system's own Erlang libraries, which no dependency names.
      prune_code_paths: false,
      xref: [exclude: [JSON, :json, Jason, :jiffy, :telemetry]],
      deps: []
    ]
  end

  def application do
    [extra_applications: [:logger]]
  end

  defp elixirc_paths(:test), do: ["lib", "test/support"]
  defp elixirc_paths(_env), do: ["lib"]
end
