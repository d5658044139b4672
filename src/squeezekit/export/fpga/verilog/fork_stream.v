// One stream for COUNT readers; each takes a byte when it likes, the next one comes when all have it.
module fork_stream #(
    parameter DATA = 8,
    parameter COUNT = 2
) (
    input clock,
    input reset,
    input in_valid,
    output in_ready,
    input [DATA-1:0] in_data,
    output [COUNT-1:0] out_valid,
    input [COUNT-1:0] out_ready,
    output [DATA-1:0] out_data
);
    reg [COUNT-1:0] done;
    wire [COUNT-1:0] finished = done | out_ready;
    assign out_valid = {COUNT{in_valid}} & ~done;
    assign out_data = in_data;
    assign in_ready = &finished;

    always @(posedge clock)
        if (reset) done <= 0;
        else if (in_valid) done <= in_ready ? {COUNT{1'b0}} : finished;
endmodule
